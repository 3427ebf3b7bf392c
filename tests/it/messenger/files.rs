//! `/static/`: the files of a folder.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Folder, check_text, gateway, get, method};
use crate::support::request;

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    fs::create_dir_all(folder.path("www/sub")).unwrap();
    fs::write(folder.path("secret"), "secret").unwrap();
    fs::write(folder.path("www/index.html"), "<p>home").unwrap();
    fs::write(folder.path("www/a b.js"), "1").unwrap();
    fs::write(folder.path("www/sub/index.html"), "<p>sub").unwrap();
    fs::write(folder.path("www/.env"), "secret").unwrap();
    symlink(folder.path("secret"), folder.path("www/out")).unwrap();
    folder
}

#[test]
fn files_are_served_with_their_types() {
    let folder = folder("files");
    let gateway = gateway(|settings| settings.static_dir = Some(folder.path("www").into()));
    let address = gateway.address;
    for (path, content, kind) in [
        ("/static/", "<p>home", "text/html; charset=utf-8"),
        ("/static/index.html", "<p>home", "text/html; charset=utf-8"),
        ("/static/a%20b.js", "1", "text/javascript; charset=utf-8"),
        ("/static/sub/", "<p>sub", "text/html; charset=utf-8"),
    ] {
        let answer = get(address, path);
        assert_eq!(
            (answer.status, &*answer.body),
            (200, content),
            "{path}: {answer:?}"
        );
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let tag = answer.header("etag").unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
        );
        let same = request(address, head.as_bytes());
        assert_eq!((same.status, &*same.body), (304, ""), "{same:?}");
    }
    let head = method(address, "HEAD", "/static/index.html");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(head.header("content-length"), Some("7"));
    let moved = get(address, "/static/sub");
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("./sub/"))
    );
    let moved = get(address, "/static");
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("./static/"))
    );
    check_text(
        &method(address, "POST", "/static/index.html"),
        405,
        "Method not allowed",
    );
}

#[test]
fn h20_nothing_outside_of_the_folder_is_served() {
    let folder = folder("traversal");
    let gateway = gateway(|settings| settings.static_dir = Some(folder.path("www").into()));
    for path in [
        "/static/../secret",
        "/static/%2e%2e/secret",
        "/static/..%2fsecret",
        "/static/%2E%2E%2Fsecret",
        "/static/sub/%2e%2e/%2e%2e/secret",
        "/static/..%5csecret",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/out",
        "/static/.env",
        "/static/%2eenv",
        "/static/a%00",
        "/static/%ff",
        "/static/none",
        "/static/index.html/",
        "/static/./index.html",
    ] {
        let answer = get(gateway.address, path);
        assert!(
            answer.status == 404 && !answer.body.contains("secret"),
            "{path}: {answer:?}"
        );
    }
}

#[test]
fn h20_a_file_is_held_within_the_memory_of_bodies() {
    let folder = folder("large");
    let large = fs::File::create(folder.path("www/large")).unwrap();
    large.set_len(17 * 1024 * 1024).unwrap();
    fs::write(folder.path("www/medium"), vec![b'x'; 3 * 1024 * 1024]).unwrap();
    let gateway = crate::support::TestGateway::with(|config| {
        config.http.max_buffered_bytes = 2 * 1024 * 1024;
        let settings: &mut fanfare::dialect::messenger::MessengerSettings = config.section_mut();
        settings.static_dir = Some(folder.path("www").into());
    });
    check_text(
        &get(gateway.address, "/static/large"),
        403,
        "The file is larger than 16 MiB",
    );
    assert_eq!(get(gateway.address, "/static/medium").status, 503);
    assert_eq!(get(gateway.address, "/static/index.html").status, 200);
}
