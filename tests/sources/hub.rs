//! The hub, played by a small server.

use crate::shards;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wginfer::ErrorKind;
use wginfer::formats::gguf;
use wginfer::formats::hub::{HubFile, HubOptions};

/// What the server has, what it was asked, and where it breaks off.
#[derive(Default)]
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// Of the next answers longer than that, only so many bytes are sent, one after another.
    break_at: Mutex<VecDeque<usize>>,
    /// Whether such an answer is left open, and not ended.
    stalls: bool,
    /// Paths, ranges and keys.
    asked: Mutex<Vec<(String, String, String)>>,
}

impl Hub {
    fn start(self) -> (Arc<Hub>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(self);
        let server = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        (hub, address)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let (mut path, mut range, mut key) = (String::new(), String::new(), String::new());
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let line = line.trim_end();
                if line.is_empty() {
                    break;
                }
                if path.is_empty() {
                    path = line.split(' ').nth(1).unwrap_or("").into();
                } else if let Some((name, value)) = line.split_once(": ") {
                    match name.to_lowercase().as_str() {
                        "range" => range = value.into(),
                        "authorization" => key = value.into(),
                        _ => (),
                    }
                }
            }
            self.asked.lock().unwrap().push((path.clone(), range.clone(), key));
            let Some(bytes) = self.files.get(&path) else {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                continue;
            };
            let asked = range.strip_prefix("bytes=").unwrap_or("0-");
            let (from, to) = asked.split_once('-').unwrap();
            let from: usize = from.parse().unwrap();
            let to = to.parse().map_or(bytes.len(), |to: usize| to + 1).min(bytes.len());
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nETag: \"e{:x}\"\r\nX-Repo-Commit: c0ffee\r\n\
                 Content-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                path.bytes().fold(7u64, |tag, byte| tag.wrapping_mul(31).wrapping_add(byte.into())),
                to - 1,
                bytes.len(),
                to - from
            );
            let _ = stream.write_all(head.as_bytes());
            let part = &bytes[from..to];
            if let Some(limit) = self.limit(part.len()) {
                let _ = stream.write_all(&part[..limit]);
                if self.stalls {
                    loop {
                        std::thread::park();
                    }
                }
                return;
            }
            let _ = stream.write_all(part);
        }
    }

    /// How much of the next answer is sent, if it is longer. What asks about a file is
    /// answered with its first byte, whole.
    fn limit(&self, length: usize) -> Option<usize> {
        let mut limits = self.break_at.lock().unwrap();
        let next = *limits.front()?;
        if length > next.max(1) { limits.pop_front() } else { None }
    }

    /// Where downloads of a file began.
    fn begun(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let of = asked.iter().filter(|(other, range, _)| other == path && range != "bytes=0-0");
        of.map(|(_, range, _)| range.clone()).collect()
    }
}

fn options(address: &str, folder: &Path) -> HubOptions {
    HubOptions {
        endpoint: Some(address.into()),
        cache: Some(folder.join("hub")),
        token: Some("secret".into()),
        pause: Duration::from_millis(1),
        ..HubOptions::default()
    }
}

/// A file on the server, and its name there.
fn model() -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    let model =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders/qwen3.gguf"))
            .unwrap();
    (model.clone(), BTreeMap::from([(PATH.to_string(), model)]))
}

const PATH: &str = "/me/tiny/resolve/main/sub/q.gguf";

const FILE: &str = "hf:me/tiny/sub/q.gguf";

/// One that breaks off goes on by itself, as long as something comes each time or not
/// many times in a row nothing does.
#[test]
fn a_file_that_breaks_off_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (model, files) = model();
    let break_at = Mutex::new(VecDeque::from([0, 0, 20_000, 0, 5_000, 0, 0]));
    let (hub, address) = Hub { files, break_at, ..Hub::default() }.start();
    let file = HubFile::parse(FILE).unwrap().unwrap();
    let options = options(&address, folder.path());
    let found = file.fetch(&options, &mut |_, _, _| {}).unwrap();
    assert_eq!(std::fs::read(&found).unwrap(), model);
    let starts: Vec<String> = hub.begun(PATH);
    let wanted = [0, 0, 0, 20_000, 20_000, 25_000, 25_000, 25_000];
    assert_eq!(starts, wanted.map(|from| format!("bytes={from}-")));

    // Four times in a row nothing.
    let folder = tempfile::tempdir().unwrap();
    let break_at = Mutex::new(VecDeque::from([0; 5]));
    let files = BTreeMap::from([(PATH.to_string(), model)]);
    let (hub, address) = Hub { files, break_at, ..Hub::default() }.start();
    let options =
        HubOptions { endpoint: Some(address), cache: Some(folder.path().into()), ..options };
    assert_eq!(file.fetch(&options, &mut |_, _, _| {}).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(hub.begun(PATH).len(), 4);
}

#[test]
fn a_silent_hub_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (_, files) = model();
    let break_at = Mutex::new(VecDeque::from([20_000]));
    let (_, address) = Hub { files, break_at, stalls: true, ..Hub::default() }.start();
    let file = HubFile::parse(FILE).unwrap().unwrap();
    let silence = Duration::from_millis(500);
    let options = HubOptions { silence, ..options(&address, folder.path()) };
    let error = file.fetch(&options, &mut |_, _, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let text = error.to_string();
    assert!(text.contains("q.gguf") && text.contains("nothing came for 0.5 seconds"), "{text}");
}

#[test]
fn a_file_is_fetched_once_and_goes_on_where_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let (model, files) = model();
    let path = PATH;
    let break_at = Mutex::new(VecDeque::from([20_000]));
    let (hub, address) = Hub { files, break_at, ..Hub::default() }.start();
    let options = options(&address, folder.path());
    let file = HubFile::parse(FILE).unwrap().unwrap();

    let once = HubOptions { attempts: 1, ..options.clone() };
    let error = file.fetch(&once, &mut |_, _, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("hf:me/tiny@main/sub/q.gguf"), "{error}");

    let mut told = Vec::new();
    let found = file.fetch(&options, &mut |name, done, all| {
        told.push((name.to_string(), done, all));
    });
    let found = found.unwrap();
    assert_eq!(std::fs::read(&found).unwrap(), model);
    assert!(found.starts_with(folder.path()), "{}", found.display());
    let starts = hub.begun(path);
    assert_eq!(starts, ["bytes=0-", "bytes=20000-"]);
    let all = model.len() as u64;
    assert!(told.iter().any(|(_, done, _)| *done == 20_000), "{told:?}");
    assert_eq!(told.last(), Some(&("sub/q.gguf".to_string(), all, all)));
    gguf::open(&found).unwrap();
    assert!(hub.asked.lock().unwrap().iter().all(|(_, _, key)| key == "Bearer secret"));

    // Now nothing is asked any more.
    let count = hub.asked.lock().unwrap().len();
    assert_eq!(file.fetch(&options, &mut |_, _, _| {}).unwrap(), found);
    assert_eq!(hub.asked.lock().unwrap().len(), count);
}

#[test]
fn all_parts_of_a_model_are_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let whole =
        gguf::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders/llama.gguf"))
            .unwrap();
    let told = whole.tensors().len() as i32;
    let path = |number: u16| format!("/me/tiny/resolve/v1/{}", shards::name(number, 2));
    let bytes = |number: u16| shards::part(&whole, number, 2, told).to_bytes().unwrap();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    files.insert(path(0), bytes(0));
    files.insert(path(1), bytes(1));
    let (_, address) = Hub { files, ..Hub::default() }.start();
    let options = options(&address, folder.path());
    let name = format!("hf:me/tiny@v1/{}", shards::name(1, 2));
    let file = HubFile::parse(&name).unwrap().unwrap();
    let found = file.fetch(&options, &mut |_, _, _| {}).unwrap();
    assert!(found.ends_with(shards::name(1, 2)), "{}", found.display());
    let model = gguf::open(&found).unwrap();
    assert_eq!(model.tensors().len(), whole.tensors().len());
}

#[test]
fn what_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_, address) = Hub::default().start();
    let file = HubFile::parse("hf:me/tiny/none.gguf").unwrap().unwrap();
    let error = file.fetch(&options(&address, folder.path()), &mut |_, _, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let text = error.to_string();
    assert!(text.contains("hf:me/tiny@main/none.gguf") && text.contains("404"), "{text}");
    // Nobody listens there.
    let gone = options("http://127.0.0.1:9", folder.path());
    assert_eq!(file.fetch(&gone, &mut |_, _, _| {}).unwrap_err().kind(), ErrorKind::Io);
}
