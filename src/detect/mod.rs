//! Detectors: windows in, findings out. One file a detector.
