//! Bounds on what a client may send, where several modules name them.

/// Longest repository name, in characters.
///
/// The spec has none, but notes that many clients hold host and name together to 255.
pub const MAX_REPOSITORY_LENGTH: usize = 255;

/// Longest tag, in characters, by the spec's grammar.
pub const MAX_TAG_LENGTH: usize = 128;
