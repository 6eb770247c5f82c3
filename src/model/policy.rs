//! What a server wants of packages.

use super::signature::TrustedKeys;

/// What a package has to be, beyond agreeing with itself.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Whose signatures count; without a key none is looked at.
    pub trusted: TrustedKeys,
    /// Whether a package without a signature is refused.
    pub require_signature: bool,
    /// Whether networks with loops and branches may be served.
    pub allow_control_flow: bool,
}
