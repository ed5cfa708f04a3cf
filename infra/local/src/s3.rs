//! S3, served from a folder by `s3s-fs` below the AWS endpoint, path-style: `/<bucket>/<key>`.
//!
//! Signed requests must be signed with the credentials that the host gives its functions (`local` and `local`); requests
//! without a signature are served too, as the host's other engines serve them. Everything listens on loopback only.
//!
//! Unlike the service, a put creates the bucket if it does not exist.

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use std::path::{Path, PathBuf};

/// Key and secret that functions sign with.
const CREDENTIALS: (&str, &str) = ("local", "local");

/// The engine, and its folder.
pub(crate) struct S3 {
    service: S3Service,
    /// A temporary folder, removed with the engine.
    temporary: Option<PathBuf>,
}

impl S3 {
    /// Serves `folder`, or a temporary one, with `buckets` in it.
    pub(crate) fn open(folder: Option<PathBuf>, buckets: &[String]) -> Result<Self> {
        let is_temporary = folder.is_none();
        let folder = folder.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("switchyard-s3-{}", switchyard_core::random::uuid().simple()))
        });
        for bucket in buckets {
            let path = folder.join(bucket);
            std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let files = FileSystem::new(&folder).map_err(|error| anyhow::anyhow!("opening S3's folder: {error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(CREDENTIALS.0, CREDENTIALS.1));
        builder.set_access(Everyone);
        Ok(Self { service: builder.build(), temporary: is_temporary.then_some(folder) })
    }

    pub(crate) async fn call(&self, request: Request) -> Response<Body> {
        let request = request.map(|body| s3s::Body::http_body_unsync(body.map_err(std::io::Error::other)));
        match self.service.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(folder) = self.temporary.as_deref() {
            remove(folder);
        }
    }
}

/// A failure leaves files in a temporary folder only.
fn remove(folder: &Path) {
    drop(std::fs::remove_dir_all(folder));
}

/// Every request that reaches the endpoint is allowed.
struct Everyone;

#[async_trait::async_trait]
impl S3Access for Everyone {
    async fn check(&self, _: &mut S3AccessContext<'_>) -> S3Result<()> {
        Ok(())
    }
}
