//! A bucket and its operations.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt as _};

use crate::error::{Error, Kind, Result};
use crate::operation::{Counts, Operation};
use crate::transport::run;

/// A bucket, or the objects of it whose keys begin with a prefix.
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    multipart: Arc<dyn MultipartStore>,
    signer: Option<Arc<dyn Signer>>,
    prefix: Path,
    counts: Arc<Counts>,
}

impl Bucket {
    pub(crate) fn new<S: ObjectStore + MultipartStore>(
        store: Arc<S>,
        signer: Option<Arc<dyn Signer>>,
        prefix: Path,
        counts: Arc<Counts>,
    ) -> Self {
        Self { objects: Arc::clone(&store) as _, multipart: store, signer, prefix, counts }
    }

    /// A bucket in the memory of this process, for tests.
    pub fn in_memory(prefix: &str) -> Self {
        let store = Arc::new(object_store::memory::InMemory::new());
        Self::new(store, None, Path::from(prefix), Arc::default())
    }

    /// Number of requests that an operation has sent so far, with those that were sent again.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.counts.get(operation)
    }

    /// Store an object. An object with this key is replaced.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn put(&self, key: &str, data: Bytes) -> Result<()> {
        let path = self.path(Operation::Put, key)?;
        run(Operation::Put, self.objects.put(&path, data.into())).await.map_err(missing_is_an_error)?;
        Ok(())
    }

    /// The size of an object in bytes. None if it does not exist.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        let path = self.path(Operation::Size, key)?;
        match run(Operation::Size, self.objects.head(&path)).await {
            Ok(found) => Ok(Some(found.size)),
            // An answer to HEAD does not say whether the object or the whole bucket is missing.
            Err(error) if error.kind == Kind::NotFound => {
                let found = run(Operation::Size, self.objects.get_opts(&path, GetOptions::default())).await;
                Ok(or_missing(found)?.map(|found| found.meta.size))
            }
            Err(error) => Err(error),
        }
    }

    /// Begin to read a range of an object: its metadata and a stream. None if it does not exist. With `etag`, only that
    /// version of it.
    pub(crate) async fn get(&self, key: &str, range: Range<u64>, etag: Option<String>) -> Result<Option<GetResult>> {
        let path = self.path(Operation::Read, key)?;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match: etag, ..GetOptions::default() };
        or_missing(run(Operation::Read, self.objects.get_opts(&path, options)).await)
    }

    /// Delete objects. Those that do not exist count as deleted.
    ///
    /// # Errors
    /// The first error, after all others were tried.
    pub async fn delete(&self, keys: &[String]) -> Result<()> {
        let paths: Vec<_> = keys.iter().map(|key| self.path(Operation::Delete, key)).collect::<Result<_>>()?;
        let mut deleted = self.objects.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        let mut first = Ok(());
        while let Some(result) = run(Operation::Delete, async { deleted.next().await.transpose() }).await.transpose() {
            match result {
                Err(error) if error.kind != Kind::NotFound && first.is_ok() => first = Err(error),
                _ => {}
            }
        }
        first
    }

    /// Begin a multipart upload, and return its id.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn create_multipart(&self, key: &str) -> Result<String> {
        let path = self.path(Operation::CreateMultipart, key)?;
        run(Operation::CreateMultipart, self.multipart.create_multipart(&path)).await.map_err(missing_is_an_error)
    }

    /// Store a part of a multipart upload, from 0, and return its `ETag`. A part with this number is replaced.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is no such upload, and see [`Kind`].
    pub async fn put_part(&self, key: &str, id: &str, number: usize, data: Bytes) -> Result<String> {
        let path = self.path(Operation::PutPart, key)?;
        let id = id.to_owned();
        let part = self.multipart.put_part(&path, &id, number, data.into());
        Ok(run(Operation::PutPart, part).await?.content_id)
    }

    /// Make an object of the parts of a multipart upload.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is no such upload, or it is complete, and see [`Kind`].
    pub async fn complete(&self, key: &str, id: &str, etags: Vec<String>) -> Result<()> {
        let path = self.path(Operation::Complete, key)?;
        let parts = etags.into_iter().map(|content_id| PartId { content_id }).collect();
        run(Operation::Complete, self.multipart.complete_multipart(&path, &id.to_owned(), parts)).await?;
        Ok(())
    }

    /// End a multipart upload, and delete its parts. One that does not exist counts as ended.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn abort(&self, key: &str, id: &str) -> Result<()> {
        let path = self.path(Operation::Abort, key)?;
        or_missing(run(Operation::Abort, self.multipart.abort_multipart(&path, &id.to_owned())).await)?;
        Ok(())
    }

    /// A URL that anybody can GET the object from, for a time. `query` is signed with it.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn sign(&self, key: &str, expires: Duration, query: Vec<(String, String)>) -> Result<String> {
        let path = self.path(Operation::Sign, key)?;
        let signer = self
            .signer
            .as_ref()
            .ok_or_else(|| Error::new(Kind::Other, Operation::Sign, "this kind of store signs no URLs"))?;
        let options = SignedUrlOptions::default().with_query(query);
        Ok(run(Operation::Sign, signer.signed_url_opts(Method::GET, &path, expires, &options)).await?.into())
    }

    /// The keys after `after`, in order, with their sizes, at most `limit`.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn list(&self, after: &str, limit: usize) -> Result<Vec<(String, u64)>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let found = if after.is_empty() {
            self.objects.list(prefix)
        } else {
            self.objects.list_with_offset(prefix, &self.path(Operation::List, after)?)
        };
        let found: Vec<_> =
            run(Operation::List, found.take(limit).try_collect::<Vec<_>>()).await.map_err(missing_is_an_error)?;
        let own = |path: &Path| path.as_ref()[self.prefix.as_ref().len()..].trim_start_matches('/').to_owned();
        Ok(found.into_iter().map(|object| (own(&object.location), object.size)).collect())
    }

    fn path(&self, operation: Operation, key: &str) -> Result<Path> {
        let invalid = |_| Error::new(Kind::Other, operation, "the key is not a path of plain names");
        let key = Path::parse(key).map_err(invalid)?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }
}

/// None if what was asked for does not exist.
fn or_missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// For operations that need nothing but the bucket.
fn missing_is_an_error(error: Error) -> Error {
    if error.kind == Kind::NotFound { Error { kind: Kind::Other, ..error } } else { error }
}
