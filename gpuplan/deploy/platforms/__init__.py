"""One platform, one file: `SUMMARY` says what is written, `render(deployment)` writes it or raises CannotDeploy."""
