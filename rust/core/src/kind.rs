//! The kinds of requests: the spec's table of endpoints (distribution-spec: endpoints).

/// The kind of a request: an endpoint and a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// end-1: `GET /v2/`. Any method is accepted.
    Ping,
    /// end-2: `GET /v2/<name>/blobs/<digest>`.
    BlobGet,
    /// end-2: `HEAD /v2/<name>/blobs/<digest>`.
    BlobHead,
    /// end-10: `DELETE /v2/<name>/blobs/<digest>`.
    BlobDelete,
    /// end-4a, end-4c: `POST /v2/<name>/blobs/uploads/[?digest-algorithm=<algorithm>]`.
    UploadStart,
    /// end-4b: `POST /v2/<name>/blobs/uploads/?digest=<digest>`.
    UploadBlob,
    /// end-11: `POST /v2/<name>/blobs/uploads/?mount=<digest>[&from=<other_name>]`.
    BlobMount,
    /// end-13: `GET /v2/<name>/blobs/uploads/<reference>`.
    UploadInfo,
    /// end-5: `PATCH /v2/<name>/blobs/uploads/<reference>`.
    UploadChunk,
    /// end-6: `PUT /v2/<name>/blobs/uploads/<reference>?digest=<digest>`.
    UploadComplete,
    /// end-14: `DELETE /v2/<name>/blobs/uploads/<reference>`.
    UploadCancel,
    /// end-3: `GET /v2/<name>/manifests/<reference>`.
    ManifestGet,
    /// end-3: `HEAD /v2/<name>/manifests/<reference>`.
    ManifestHead,
    /// end-7a, end-7b: `PUT /v2/<name>/manifests/<reference>[?tag=<tag>]...`.
    ManifestPut,
    /// end-9: `DELETE /v2/<name>/manifests/<reference>`.
    ManifestDelete,
    /// end-8a, end-8b: `GET /v2/<name>/tags/list[?n=<integer>&last=<tag>]`.
    TagsList,
    /// end-12a, end-12b: `GET /v2/<name>/referrers/<digest>[?artifactType=<type>]`.
    ReferrersList,
    /// `GET /v2/_catalog[?n=<integer>&last=<name>]`. From Docker, not in the spec.
    CatalogList,
}

/// The methods of an endpoint, with the kind of request for each.
pub type Methods = &'static [(&'static str, Kind)];

pub(crate) const BLOB: Methods = &[("GET", Kind::BlobGet), ("HEAD", Kind::BlobHead), ("DELETE", Kind::BlobDelete)];
pub(crate) const UPLOADS: Methods = &[("POST", Kind::UploadStart)];
pub(crate) const UPLOAD: Methods = &[
    ("GET", Kind::UploadInfo),
    ("PATCH", Kind::UploadChunk),
    ("PUT", Kind::UploadComplete),
    ("DELETE", Kind::UploadCancel),
];
pub(crate) const MANIFEST: Methods = &[
    ("GET", Kind::ManifestGet),
    ("HEAD", Kind::ManifestHead),
    ("PUT", Kind::ManifestPut),
    ("DELETE", Kind::ManifestDelete),
];
pub(crate) const TAGS: Methods = &[("GET", Kind::TagsList)];
pub(crate) const REFERRERS: Methods = &[("GET", Kind::ReferrersList)];
pub(crate) const CATALOG: Methods = &[("GET", Kind::CatalogList)];

impl Kind {
    /// All kinds, in the order of declaration: `Kind::ALL[kind as usize] == kind`.
    pub const ALL: [Self; 18] = [
        Self::Ping,
        Self::BlobGet,
        Self::BlobHead,
        Self::BlobDelete,
        Self::UploadStart,
        Self::UploadBlob,
        Self::BlobMount,
        Self::UploadInfo,
        Self::UploadChunk,
        Self::UploadComplete,
        Self::UploadCancel,
        Self::ManifestGet,
        Self::ManifestHead,
        Self::ManifestPut,
        Self::ManifestDelete,
        Self::TagsList,
        Self::ReferrersList,
        Self::CatalogList,
    ];

    /// The name in Python.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::BlobGet => "blob_get",
            Self::BlobHead => "blob_head",
            Self::BlobDelete => "blob_delete",
            Self::UploadStart => "upload_start",
            Self::UploadBlob => "upload_blob",
            Self::BlobMount => "blob_mount",
            Self::UploadInfo => "upload_info",
            Self::UploadChunk => "upload_chunk",
            Self::UploadComplete => "upload_complete",
            Self::UploadCancel => "upload_cancel",
            Self::ManifestGet => "manifest_get",
            Self::ManifestHead => "manifest_head",
            Self::ManifestPut => "manifest_put",
            Self::ManifestDelete => "manifest_delete",
            Self::TagsList => "tags_list",
            Self::ReferrersList => "referrers_list",
            Self::CatalogList => "catalog_list",
        }
    }

    /// The method of the request.
    pub const fn method(self) -> &'static str {
        match self {
            Self::BlobHead | Self::ManifestHead => "HEAD",
            Self::BlobDelete | Self::UploadCancel | Self::ManifestDelete => "DELETE",
            Self::UploadStart | Self::UploadBlob | Self::BlobMount => "POST",
            Self::UploadChunk => "PATCH",
            Self::UploadComplete | Self::ManifestPut => "PUT",
            Self::Ping
            | Self::BlobGet
            | Self::UploadInfo
            | Self::ManifestGet
            | Self::TagsList
            | Self::ReferrersList
            | Self::CatalogList => "GET",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_order_and_differ_in_name() {
        let mut names = Vec::new();
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert!(!names.contains(&kind.name()), "{kind:?}");
            names.push(kind.name());
        }
    }

    #[test]
    fn endpoints_agree_with_the_methods() {
        for methods in [BLOB, UPLOADS, UPLOAD, MANIFEST, TAGS, REFERRERS, CATALOG] {
            for (method, kind) in methods {
                assert_eq!(*method, kind.method());
            }
        }
    }
}
