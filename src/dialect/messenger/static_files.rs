//! `GET /static/..`: the files of a folder (docs/messenger.md, "Files").

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::SystemTime;

use axum::RequestExt;
use axum::body::{Body, Bytes};
use axum::extract::{Path as PathParameter, Request};
use axum::http::header::{
    CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use tokio::sync::oneshot;

use super::api::{MessengerHandle, text};
use crate::http::{Answer, Rejection, respond};
use crate::process::Reservation;
use crate::service::State;

/// The folder whose files are served.
#[derive(Debug)]
pub(super) struct StaticFiles {
    reads: SyncSender<ReadOrder>,
}

/// A file to be read.
#[derive(Debug)]
struct ReadOrder {
    path: String,
    /// The tag of the content that the client has.
    known: Option<HeaderValue>,
    held: Reservation,
    reply: oneshot::Sender<ReadResult>,
}

type ReadResult = Result<Content, NotServed>;

/// What a path is answered with.
#[derive(Debug)]
enum Content {
    File(OpenFile, HeldFile),
    /// The client has it.
    Known(OpenFile),
    /// A folder whose path lacks the `/` at its end.
    Folder,
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
    /// Too many files are being read, or held for clients that have not taken them.
    Busy,
}

/// A file's content together with its reservation.
#[derive(Debug)]
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
    /// The files below `root`, read by a thread of their own, which waits for the disk in place of a shard.
    ///
    /// # Errors
    /// There is no such folder, or there can be no more threads.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let (reads, orders) = mpsc::sync_channel::<ReadOrder>(READS_MAX);
        thread::Builder::new()
            .name("static-files".to_owned())
            .spawn(move || {
                for order in orders {
                    let read = read(&root, &order.path, order.known.as_ref(), order.held);
                    // Its client may have left.
                    let _ = order.reply.send(read);
                }
            })?;
        Ok(Self { reads })
    }

    /// What is at a path, unless it is the `known` one.
    async fn read(
        &self,
        path: String,
        known: Option<HeaderValue>,
        held: Reservation,
    ) -> ReadResult {
        let (reply, answer) = oneshot::channel();
        let order = ReadOrder {
            path,
            known,
            held,
            reply,
        };
        match self.reads.try_send(order) {
            Ok(()) => answer.await.unwrap_or(Err(NotServed::NotFound)),
            Err(_) => Err(NotServed::Busy),
        }
    }
}

/// Reads what is at `path` below `root`, unless its tag is `known`.
fn read(root: &Path, path: &str, known: Option<&HeaderValue>, mut held: Reservation) -> ReadResult {
    let mut found = match find(root, path).ok_or(NotServed::NotFound)? {
        Found::Folder => return Ok(Content::Folder),
        Found::File(found) => found,
    };
    if known.is_some_and(|known| known.as_bytes() == found.tag.as_bytes()) {
        return Ok(Content::Known(found));
    }
    let len = usize::try_from(found.len).unwrap_or(usize::MAX);
    if len > FILE_BYTES_MAX {
        return Err(NotServed::TooLarge);
    }
    if !held.set(len) {
        return Err(NotServed::Busy);
    }
    let mut bytes = Vec::with_capacity(len);
    // It may have grown.
    let mut limited = (&mut found.file).take(found.len);
    let read = limited.read_to_end(&mut bytes);
    read.map_err(|_| NotServed::NotFound)?;
    Ok(Content::File(found, HeldFile { bytes, _held: held }))
}

/// Answers with a file.
pub(super) async fn file(
    messenger: MessengerHandle,
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
    let held = state.process.http_bodies.hold();
    let (found, mut answer) = match files.read(path, known, held).await {
        Ok(Content::File(found, content)) => {
            let body = Body::from(Bytes::from_owner(content));
            let answer = respond(200, found.content_type, body);
            (found, answer)
        }
        Ok(Content::Known(found)) => {
            let answer = respond(304, found.content_type, Body::empty());
            (found, answer)
        }
        Ok(Content::Folder) => return Ok(to_folder(request.uri().path())),
        Err(NotServed::NotFound) => return Err(not_found()),
        Err(NotServed::TooLarge) => return Ok(text(403, "The file is larger than 16 MiB")),
        Err(NotServed::Busy) => return Ok(text(503, "Too busy; try again later")),
    };
    let tag = HeaderValue::from_str(&found.tag).expect("it is hexadecimal");
    let headers = answer.headers_mut();
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
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

/// Files that wait to be read.
const READS_MAX: usize = 256;

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
