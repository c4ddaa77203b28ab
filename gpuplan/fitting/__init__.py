"""Fitting: from measurements to factors as data. Offline work; the only place that uses scipy."""
