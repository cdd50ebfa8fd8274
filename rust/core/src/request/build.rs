//! Builds the request line of a typed request, for clients.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Request;
use crate::digest::{Algorithm, Digest};
use crate::kind::Kind;
use crate::name::Repository;
use crate::percent::encode_into;

impl Request {
    /// The method, and the URL path with its query. If [`Request::check`] accepts the request, [`super::parse`] turns
    /// them into an equal one.
    pub fn build(&self) -> (&'static str, String) {
        let mut url = Url { text: self.path(), separator: '?' };
        match self.kind {
            Kind::BlobMount => {
                url.push("mount", self.digest.as_ref().map(Digest::as_str));
                url.push("from", self.from_repository.as_ref().map(Repository::as_str));
            }
            Kind::UploadBlob | Kind::UploadComplete => {
                url.push("digest", self.digest.as_ref().map(Digest::as_str));
            }
            Kind::UploadStart => url.push("digest-algorithm", self.digest_algorithm.map(Algorithm::name)),
            Kind::ManifestPut => {
                for tag in &self.tags {
                    url.push("tag", Some(tag.as_str()));
                }
            }
            _ => {}
        }
        url.push("artifactType", self.artifact_type.as_deref());
        url.push("n", self.n.map(|n| n.to_string()).as_deref());
        url.push("last", self.last.as_deref());
        url.push("ns", self.namespace.as_deref());
        (self.kind.method(), url.text)
    }

    fn path(&self) -> String {
        let repository = self.repository.as_ref().map_or("", |repository| repository.as_str());
        let digest = self.digest.as_ref().map_or("", |digest| digest.as_str());
        match self.kind {
            Kind::Ping => "/v2/".to_owned(),
            Kind::CatalogList => "/v2/_catalog".to_owned(),
            Kind::BlobGet | Kind::BlobHead | Kind::BlobDelete => format!("/v2/{repository}/blobs/{digest}"),
            Kind::UploadStart | Kind::UploadBlob | Kind::BlobMount => format!("/v2/{repository}/blobs/uploads/"),
            Kind::UploadInfo | Kind::UploadChunk | Kind::UploadComplete | Kind::UploadCancel => {
                upload_path(repository, self.upload_id.as_deref().unwrap_or_default())
            }
            Kind::ManifestGet | Kind::ManifestHead | Kind::ManifestPut | Kind::ManifestDelete => {
                let reference = self.tag.as_ref().map_or(digest, |tag| tag.as_str());
                format!("/v2/{repository}/manifests/{reference}")
            }
            Kind::TagsList => format!("/v2/{repository}/tags/list"),
            Kind::ReferrersList => format!("/v2/{repository}/referrers/{digest}"),
        }
    }
}

/// The path of an upload. Its ID is in unpadded base64url, so it may have any characters.
pub fn upload_path(repository: &str, upload_id: &str) -> String {
    let mut path = format!("/v2/{repository}/blobs/uploads/");
    URL_SAFE_NO_PAD.encode_string(upload_id, &mut path);
    path
}

struct Url {
    text: String,
    separator: char,
}

impl Url {
    /// Append a parameter, if it has a value.
    fn push(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text.push(self.separator);
            self.text.push_str(name);
            self.text.push('=');
            encode_into(&mut self.text, value.as_bytes());
            self.separator = '&';
        }
    }
}
