//! What is promised of limits that replicas share.
