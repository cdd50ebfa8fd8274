//! Limits on input that several modules use.

/// Longest repository name, in characters.
///
/// The spec has no limit, but notes that many clients limit host and name together to 255 characters.
pub const MAX_REPOSITORY_LENGTH: usize = 255;

/// Longest tag, in characters, by the grammar of the spec.
pub const MAX_TAG_LENGTH: usize = 128;
