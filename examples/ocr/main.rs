//! Reads the text in a picture: three ONNX models find lines, turn those that are
//! upside down, and read them.
//!
//! ```sh
//! models=$(scripts/fetch_ocr_models.sh)
//! cargo run --release --example ocr -- "$models/page.png" "$models"
//! ```
//!
//! A third argument names the adapter, as `wginfer --adapter` does; a fourth,
//! `boxes`, prints how certain each line is and where it stands.

mod detect;
mod picture;
mod reader;
mod recognise;

use reader::Reader;
use std::error::Error;
use std::path::Path;
use wginfer::gpu::DeviceOptions;
use wginfer::{Backend, BackendChoice};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [picture, models, rest @ ..] = args.as_slice() else {
        return Err("usage: ocr PICTURE FOLDER_OF_MODELS [ADAPTER [boxes]]".into());
    };
    let choice: BackendChoice = rest.first().map_or("auto", String::as_str).parse()?;
    let boxes = rest.get(1).is_some_and(|word| word == "boxes");
    let (backend, why) = Backend::open_blocking(&choice, DeviceOptions::default())?;
    eprintln!("{why}");
    let picture = image::open(picture)?.into_rgb8();
    let mut reader = Reader::open(Path::new(models), &backend)?;
    for line in reader.read(&picture)? {
        if boxes {
            print!("{:.3} {:?} ", line.score, line.corners);
        }
        println!("{}", line.text);
    }
    Ok(())
}
