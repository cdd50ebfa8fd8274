//! Checks that the fields of a request match its kind. Requests from the parser always do.

use super::{MAX_TAGS, MAX_UPLOAD_ID_LENGTH, Request};
use crate::error::{Error, Result};
use crate::kind::Kind;

/// A field of [`Request`] that only some kinds have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Repository,
    Digest,
    Tag,
    Tags,
    FromRepository,
    UploadId,
    DigestAlgorithm,
    N,
    Last,
    ArtifactType,
}

use Field::{ArtifactType, Digest, DigestAlgorithm, FromRepository, Last, N, Repository, Tag, Tags, UploadId};

impl Field {
    const ALL: [Self; 10] =
        [Repository, Digest, Tag, Tags, FromRepository, UploadId, DigestAlgorithm, N, Last, ArtifactType];

    fn name(self) -> &'static str {
        match self {
            Repository => "repository",
            Digest => "digest",
            Tag => "tag",
            Tags => "tags",
            FromRepository => "from_repository",
            UploadId => "upload_id",
            DigestAlgorithm => "digest_algorithm",
            N => "n",
            Last => "last",
            ArtifactType => "artifact_type",
        }
    }

    fn is_set(self, request: &Request) -> bool {
        match self {
            Repository => request.repository.is_some(),
            Digest => request.digest.is_some(),
            Tag => request.tag.is_some(),
            Tags => !request.tags.is_empty(),
            FromRepository => request.from_repository.is_some(),
            UploadId => request.upload_id.is_some(),
            DigestAlgorithm => request.digest_algorithm.is_some(),
            N => request.n.is_some(),
            Last => request.last.is_some(),
            ArtifactType => request.artifact_type.is_some(),
        }
    }
}

/// The required fields of a kind, and its optional ones.
fn fields(kind: Kind) -> (&'static [Field], &'static [Field]) {
    match kind {
        Kind::Ping => (&[], &[]),
        Kind::BlobGet | Kind::BlobHead | Kind::BlobDelete | Kind::UploadBlob => (&[Repository, Digest], &[]),
        Kind::UploadStart => (&[Repository], &[DigestAlgorithm]),
        Kind::BlobMount => (&[Repository, Digest], &[FromRepository]),
        Kind::UploadInfo | Kind::UploadChunk | Kind::UploadCancel => (&[Repository, UploadId], &[]),
        Kind::UploadComplete => (&[Repository, UploadId, Digest], &[]),
        Kind::ManifestGet | Kind::ManifestHead | Kind::ManifestDelete => (&[Repository], &[Digest, Tag]),
        Kind::ManifestPut => (&[Repository], &[Digest, Tag, Tags]),
        Kind::TagsList => (&[Repository], &[N, Last]),
        Kind::ReferrersList => (&[Repository, Digest], &[ArtifactType, Last]),
        Kind::CatalogList => (&[], &[N, Last]),
    }
}

impl Request {
    /// Check that the fields match the kind, and are within their limits.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], which names the field.
    pub fn check(&self) -> Result<()> {
        let kind = self.kind.name();
        let (required, optional) = fields(self.kind);
        for field in Field::ALL {
            let name = field.name();
            match (field.is_set(self), required.contains(&field)) {
                (false, true) => return Err(invalid(format!("{kind} needs {name}"))),
                (true, false) if !optional.contains(&field) => {
                    return Err(invalid(format!("{kind} has no {name}")));
                }
                _ => {}
            }
        }
        if optional.contains(&Tag) && self.tag.is_some() == self.digest.is_some() {
            return Err(invalid(format!("{kind} needs either tag or digest")));
        }
        self.check_bounds()
    }

    fn check_bounds(&self) -> Result<()> {
        for (name, text) in [
            ("upload_id", &self.upload_id),
            ("last", &self.last),
            ("artifact_type", &self.artifact_type),
            ("namespace", &self.namespace),
        ] {
            if text.as_ref().is_some_and(|text| text.is_empty()) {
                return Err(invalid(format!("{name} is empty: omit it")));
            }
        }
        if self.upload_id.as_ref().is_some_and(|id| id.len() > MAX_UPLOAD_ID_LENGTH) {
            return Err(invalid(format!("upload_id is longer than {MAX_UPLOAD_ID_LENGTH} bytes")));
        }
        if self.n.is_some_and(|n| i64::try_from(n).is_err()) {
            return Err(invalid(format!("n is more than {}", i64::MAX)));
        }
        if self.tags.len() > MAX_TAGS {
            return Err(invalid(format!("more than {MAX_TAGS} tags")));
        }
        if let Some(tag) = self.tags.iter().enumerate().find_map(|(i, tag)| self.tags[..i].contains(tag).then_some(tag))
        {
            return Err(invalid(format!("tags repeats {tag}")));
        }
        Ok(())
    }
}

fn invalid(message: String) -> Error {
    Error::InvalidRequest(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::digest_of;

    /// A request of this kind with its required fields only.
    fn least(kind: Kind) -> Request {
        let mut request = Request::new(kind);
        for field in fields(kind).0 {
            set(&mut request, *field);
        }
        if kind.name().starts_with("manifest_") {
            set(&mut request, Tag);
        }
        request
    }

    fn set(request: &mut Request, field: Field) {
        match field {
            Repository => request.repository = Some("foo/bar".parse().expect("valid")),
            Digest => request.digest = Some(digest_of(crate::digest::Algorithm::Sha256, b"")),
            Tag => request.tag = Some("latest".parse().expect("valid")),
            Tags => request.tags = vec!["a".parse().expect("valid"), "b".parse().expect("valid")],
            FromRepository => request.from_repository = Some("other".parse().expect("valid")),
            UploadId => request.upload_id = Some("id".into()),
            DigestAlgorithm => request.digest_algorithm = Some(crate::digest::Algorithm::Sha512),
            N => request.n = Some(0),
            Last => request.last = Some("x".into()),
            ArtifactType => request.artifact_type = Some("a/b".into()),
        }
    }

    fn unset(request: &mut Request, field: Field) {
        match field {
            Repository => request.repository = None,
            Digest => request.digest = None,
            Tag => request.tag = None,
            UploadId => request.upload_id = None,
            _ => unreachable!("never required"),
        }
    }

    #[test]
    fn each_kind_needs_its_fields_and_takes_no_others() {
        for kind in Kind::ALL {
            assert_eq!(least(kind).check(), Ok(()), "{kind:?}");
            let (required, optional) = fields(kind);
            for field in Field::ALL {
                let mut request = least(kind);
                if required.contains(&field) {
                    unset(&mut request, field);
                    assert!(request.check().is_err(), "{kind:?} without {field:?}");
                } else if optional.contains(&field) {
                    set(&mut request, field);
                    // A manifest request has one reference, not two.
                    let two = field == Digest && kind.name().starts_with("manifest_");
                    assert_eq!(request.check().is_err(), two, "{kind:?} with {field:?}");
                } else {
                    set(&mut request, field);
                    assert!(request.check().is_err(), "{kind:?} with {field:?}");
                }
            }
        }
    }

    #[test]
    fn bounds() {
        let check = |kind, change: fn(&mut Request)| {
            let mut request = least(kind);
            change(&mut request);
            request.check().map_err(|error| error.to_string())
        };
        assert!(check(Kind::UploadInfo, |r| r.upload_id = Some("x".repeat(4096).into())).is_ok());
        assert!(check(Kind::UploadInfo, |r| r.upload_id = Some("x".repeat(4097).into())).is_err());
        assert!(check(Kind::UploadInfo, |r| r.upload_id = Some("".into())).is_err());
        assert!(check(Kind::TagsList, |r| r.n = Some(i64::MAX as u64)).is_ok());
        assert!(check(Kind::TagsList, |r| r.n = Some(i64::MAX as u64 + 1)).is_err());
        assert!(check(Kind::TagsList, |r| r.last = Some("".into())).is_err());
        assert!(check(Kind::Ping, |r| r.namespace = Some("docker.io".into())).is_ok());
        assert!(check(Kind::Ping, |r| r.namespace = Some("".into())).is_err());
        assert!(check(Kind::ManifestPut, |r| r.tags = vec!["a".parse().expect("valid"); 2]).is_err());
        let tags = |count: usize| (0..count).map(|i| format!("t{i}").parse().expect("valid")).collect::<Vec<_>>();
        let mut request = least(Kind::ManifestPut);
        request.tags = tags(MAX_TAGS);
        assert_eq!(request.check(), Ok(()));
        request.tags = tags(MAX_TAGS + 1);
        assert!(request.check().is_err());
    }
}
