//! Alerts: the record, its identity, updates, evidence.
