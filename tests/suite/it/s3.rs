//! S3 on the AWS endpoint, at the wire.

use std::path::{Path, PathBuf};
use std::time::Duration;
use switchyard_local::{Binaries, Data, Host, LogSink, Ports, Settings};
use switchyard_tests::client::{Client, wait_until};
use switchyard_tests::stack::{Stack, start_with};

/// A host that serves one bucket and nothing else.
async fn host(folder: &Path, data: Data) -> Host {
    std::fs::create_dir_all(folder).unwrap();
    let template = folder.join("template.yaml");
    std::fs::write(&template, "Resources:\n  ExportsBucket: { Type: AWS::S3::Bucket }\n").unwrap();
    let mut host = None;
    // The engines of a host that has stopped close on threads of their own.
    wait_until(Duration::from_secs(30), async || {
        let binaries = Binaries::in_folder(PathBuf::from("/nowhere"));
        let (template, data, logs) = (template.clone(), data.clone(), LogSink::keep());
        host = start_with(binaries, template, data, Ports::Free, logs, Settings::default()).await.ok();
        Ok(host.is_some())
    })
    .await
    .unwrap();
    host.unwrap()
}

struct Answer {
    status: u16,
    body: String,
}

async fn call(host: &Host, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    // Also sets up TLS for every client of this process.
    Client::new(Stack::of(host, None)).unwrap();
    let url = format!("{}{path}", host.urls().aws);
    let mut request = reqwest::Client::builder().build().unwrap().request(method.parse().unwrap(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.to_owned()).send().await.unwrap();
    Answer { status: response.status().as_u16(), body: response.text().await.unwrap() }
}

#[tokio::test]
async fn objects_are_put_read_listed_and_removed_and_outlive_the_host() {
    let folder = std::env::temp_dir().join(format!("switchyard-it-s3-{}", switchyard_core::random::below(u64::MAX)));
    let data = || Data::Folder(folder.join("data"));
    let first = host(&folder, data()).await;
    let missing = call(&first, "GET", "/exportsbucket/a/b.txt", &[], "").await;
    assert_eq!((missing.status, missing.body.contains("NoSuchKey")), (404, true), "{}", missing.body);
    assert_eq!(call(&first, "PUT", "/exportsbucket/a/b.txt", &[], "hello").await.status, 200);
    assert_eq!(call(&first, "GET", "/exportsbucket/a/b.txt", &[], "").await.body, "hello");
    let part = call(&first, "GET", "/exportsbucket/a/b.txt", &[("range", "bytes=1-2")], "").await;
    assert_eq!((part.status, part.body.as_str()), (206, "el"));
    assert_eq!(call(&first, "HEAD", "/exportsbucket/a/b.txt", &[], "").await.status, 200);
    let list = call(&first, "GET", "/exportsbucket?list-type=2&prefix=a/", &[], "").await;
    assert!(list.body.contains("<Key>a/b.txt</Key>"), "{}", list.body);
    first.stop().await;

    let second = host(&folder, data()).await;
    assert_eq!(call(&second, "GET", "/exportsbucket/a/b.txt", &[], "").await.body, "hello");
    assert_eq!(call(&second, "DELETE", "/exportsbucket/a/b.txt", &[], "").await.status, 204);
    assert_eq!(call(&second, "GET", "/exportsbucket/a/b.txt", &[], "").await.status, 404);
    second.stop().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_signature_must_be_the_hosts_own() {
    let folder = std::env::temp_dir().join(format!("switchyard-it-s3-{}", switchyard_core::random::below(u64::MAX)));
    let host = host(&folder, Data::Ephemeral).await;
    let forged = "AWS4-HMAC-SHA256 Credential=local/20260203/us-east-1/s3/aws4_request, \
                  SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00";
    let headers =
        [("authorization", forged), ("x-amz-date", "20260203T040506Z"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    assert_eq!(call(&host, "GET", "/exportsbucket/a", &headers, "").await.status, 403);
    host.stop().await;
    std::fs::remove_dir_all(&folder).unwrap();
}
