//! What the tenants file says, and says anew.
