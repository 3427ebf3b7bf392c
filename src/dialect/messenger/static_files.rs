//! `GET /static/..`: the files of a folder (docs/messenger.md, "Files").

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use axum::RequestExt;
use axum::body::{Body, Bytes};
use axum::extract::{Path as PathParameter, Request};
use axum::http::header::{
    CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Messenger;
use super::api::text;
use crate::http::{Answer, Rejection, respond};
use crate::process::Reservation;
use crate::service::State;

/// The folder whose files are served.
#[derive(Debug)]
pub(super) struct StaticFiles {
    /// Without symbolic links.
    root: PathBuf,
    /// Files that are read at once, on threads of their own.
    reads: Semaphore,
}

/// What is at a path.
#[derive(Debug)]
enum Found {
    File(OpenFile),
    /// A folder whose path lacks the `/` at its end.
    Folder,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    len: u64,
    /// Another one after every change.
    tag: String,
    content_type: &'static str,
}

/// Why no file is served.
#[derive(Debug)]
enum NotServed {
    NotFound,
    TooLarge,
    NoMemory,
}

/// A file's content together with its reservation.
struct HeldFile {
    bytes: Vec<u8>,
    _held: Reservation,
}

impl AsRef<[u8]> for HeldFile {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl StaticFiles {
    /// The files below `root`.
    ///
    /// # Errors
    /// There is no such folder.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let reads = Semaphore::new(READS_MAX);
        Ok(Self { root, reads })
    }
}

/// Answers with a file.
pub(super) async fn file(
    messenger: Arc<Arc<Messenger>>,
    state: Arc<State>,
    mut request: Request,
) -> Result<Answer, Rejection> {
    let not_found = || Rejection::from(text(404, "404 page not found"));
    let files = messenger.files.as_ref().ok_or_else(not_found)?;
    // The folder itself has no parameter.
    let path = match request.uri().path() {
        "/static/" => String::new(),
        _ => {
            let path = request.extract_parts::<PathParameter<String>>().await;
            path.map_err(|_| not_found())?.0
        }
    };
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let is_known = move |tag: &str| known.is_some_and(|it| it.as_bytes() == tag.as_bytes());
    let root = files.root.clone();
    let mut held = state.process.http_bodies.hold();
    let permit = files.reads.acquire().await.expect("it is never closed");
    let read = spawn_blocking(move || -> Result<_, NotServed> {
        let mut found = match find(&root, &path).ok_or(NotServed::NotFound)? {
            Found::Folder => return Ok(None),
            Found::File(found) => found,
        };
        if is_known(&found.tag) {
            return Ok(Some((found, None)));
        }
        let len = usize::try_from(found.len).unwrap_or(usize::MAX);
        if len > FILE_BYTES_MAX {
            return Err(NotServed::TooLarge);
        }
        if !held.set(len) {
            return Err(NotServed::NoMemory);
        }
        let mut bytes = Vec::with_capacity(len);
        // It may have grown.
        let mut limited = (&mut found.file).take(found.len);
        limited
            .read_to_end(&mut bytes)
            .map_err(|_| NotServed::NotFound)?;
        Ok(Some((found, Some(HeldFile { bytes, _held: held }))))
    });
    let read = read.await;
    drop(permit);
    let (found, content) = match read.map_err(|_| not_found())? {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(to_folder(request.uri().path())),
        Err(NotServed::NotFound) => return Err(not_found()),
        Err(NotServed::TooLarge) => return Ok(text(403, "The file is larger than 16 MiB")),
        Err(NotServed::NoMemory) => return Ok(text(503, "Too busy; try again later")),
    };
    let mut answer = match content {
        Some(content) => respond(
            200,
            found.content_type,
            Body::from(Bytes::from_owner(content)),
        ),
        None => respond(304, found.content_type, Body::empty()),
    };
    let tag = HeaderValue::from_str(&found.tag).expect("it is hexadecimal");
    let headers = answer.headers_mut();
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer)
}

/// The redirect to a folder's `path` with `/` at its end, so that what its page names is found.
pub(super) fn to_folder(path: &str) -> Answer {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut answer = text(301, "Moved Permanently");
    // Relative to this path; its bytes are those of a URL.
    if let Ok(location) = HeaderValue::from_str(&format!("./{name}/")) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

/// What is at `path` below `root`. Never outside of it, wherever symbolic links lead.
fn find(root: &Path, path: &str) -> Option<Found> {
    let parts = path.strip_suffix('/').unwrap_or(path);
    let is_part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    if !parts.is_empty() && !parts.split('/').all(is_part) {
        return None;
    }
    let mut whole = fs::canonicalize(root.join(parts)).ok()?;
    let is_folder_path = parts.is_empty() || path.ends_with('/');
    if whole.is_dir() {
        if !is_folder_path {
            return whole.starts_with(root).then_some(Found::Folder);
        }
        whole = fs::canonicalize(whole.join("index.html")).ok()?;
    } else if is_folder_path {
        return None;
    }
    // A device or a pipe is not opened: that may wait for ever.
    if !whole.starts_with(root) || !fs::metadata(&whole).ok()?.is_file() {
        return None;
    }
    let file = File::open(&whole).ok()?;
    let about = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let since = about
        .modified()
        .ok()?
        .duration_since(SystemTime::UNIX_EPOCH);
    let modified = since.map_or(0, |since| since.as_nanos());
    Some(Found::File(OpenFile {
        tag: format!("\"{modified:x}-{:x}\"", about.len()),
        len: about.len(),
        content_type: content_type(&whole),
        file,
    }))
}

/// The content type that a file's name stands for.
fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|it| it.to_str()).unwrap_or("");
    let extension = extension.to_ascii_lowercase();
    let known = CONTENT_TYPES
        .iter()
        .find(|(names, _)| names.contains(&&*extension));
    known.map_or("application/octet-stream", |(_, kind)| kind)
}

const CONTENT_TYPES: [(&[&str], &str); 18] = [
    (&["html", "htm"], "text/html; charset=utf-8"),
    (&["css"], "text/css; charset=utf-8"),
    (&["js", "mjs"], "text/javascript; charset=utf-8"),
    (&["json", "map"], "application/json"),
    (&["txt", "md"], "text/plain; charset=utf-8"),
    (&["xml"], "text/xml; charset=utf-8"),
    (&["svg"], "image/svg+xml"),
    (&["png"], "image/png"),
    (&["jpg", "jpeg"], "image/jpeg"),
    (&["gif"], "image/gif"),
    (&["webp"], "image/webp"),
    (&["ico"], "image/x-icon"),
    (&["woff"], "font/woff"),
    (&["woff2"], "font/woff2"),
    (&["wasm"], "application/wasm"),
    (&["pdf"], "application/pdf"),
    (&["mp3"], "audio/mpeg"),
    (&["mp4"], "video/mp4"),
];

/// Bytes of a file that is served: it is held in memory until its client has taken it.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Files that are read at once.
const READS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn h20_only_files_of_the_folder_are_found() {
        let folder = std::env::temp_dir().join(format!("fanfare-static-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let folder = fs::canonicalize(folder).unwrap();
        let root = folder.join("static");
        fs::create_dir_all(root.join("sub/empty")).unwrap();
        for (name, text) in [
            ("secret", "s"),
            ("static/index.html", "home"),
            ("static/a b.txt", "ab"),
            ("static/.env", "hidden"),
            ("static/sub/index.html", "sub"),
            ("static-other", "o"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        symlink(folder.join("secret"), root.join("out")).unwrap();
        symlink(&folder, root.join("up")).unwrap();
        symlink("a b.txt", root.join("in")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/dev/zero", root.join("zero")).unwrap();
        let check = |path: &str, expected: Option<&str>| {
            let found = find(&root, path).map(|found| match found {
                Found::File(found) => io::read_to_string(found.file).unwrap(),
                Found::Folder => "/".to_owned(),
            });
            assert_eq!(found.as_deref(), expected, "{path:?}");
        };
        check("", Some("home"));
        check("index.html", Some("home"));
        check("a b.txt", Some("ab"));
        check("in", Some("ab"));
        check("sub", Some("/"));
        check("sub/", Some("sub"));
        for path in [
            "out",
            "up/secret",
            "up",
            "up/",
            "zero",
            "loop",
            ".env",
            "..",
            "../secret",
            "sub/../../secret",
            "./index.html",
            "//index.html",
            "sub//index.html",
            "/etc/passwd",
            "index.html/",
            "none",
            "sub/empty/",
            "a\0",
            "..\\secret",
            "../static-other",
        ] {
            check(path, None);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn names_stand_for_types() {
        for (name, kind) in [
            ("a.HTML", "text/html; charset=utf-8"),
            ("a.tar.gz", "application/octet-stream"),
            ("a", "application/octet-stream"),
            ("a.mjs", "text/javascript; charset=utf-8"),
        ] {
            assert_eq!(content_type(Path::new(name)), kind);
        }
    }
}
