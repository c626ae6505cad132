//! Times to crash → statistics. Pure; knows nothing of reports.
