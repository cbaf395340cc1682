//! TensorBoard event files: the metrics and sample grids of a run, for TensorBoard to draw.
//!
//! An event file is a TFRecord file of `tensorflow.Event` messages; the few fields used here are declared
//! by their numbers in TensorFlow's `event.proto` and `summary.proto`.
use crate::error::TrainError;
use crate::metrics::append;
use glow_data::tfrecord;
use prost::Message;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// Channels.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1 is START: what other files say of this step and later ones no longer counts.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The event file of one process; a run that was resumed has several, which TensorBoard joins.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a file in a run's folder, for steps after `step`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self, TrainError> {
        let host = crate::run::host();
        let name = format!("events.out.tfevents.{:010}.{host}.{}", now() as u64, std::process::id());
        let path = folder.join(name);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| TrainError::Write { path: path.clone(), source })?;
        let mut events = Self { path, file };
        events.write(Event { file_version: Some("brain.Event:2".into()), ..Default::default() })?;
        if step > 0 {
            let session_log = Some(SessionLog { status: 1 });
            events.write(Event { step: step as i64 + 1, session_log, ..Default::default() })?;
        }
        Ok(events)
    }

    /// Numbers by their names.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (String, f64)>,
    ) -> Result<(), TrainError> {
        let value = |(tag, number): (String, f64)| Value {
            tag,
            simple_value: Some(number as f32),
            ..Default::default()
        };
        let summary = Summary { value: scalars.into_iter().map(value).collect() };
        self.write(Event { step: step as i64, summary: Some(summary), ..Default::default() })
    }

    /// A picture of `[height, width, channels]`, as the bytes of a PNG file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn image(
        &mut self,
        step: u64,
        tag: &str,
        [height, width, channels]: [usize; 3],
        png: Vec<u8>,
    ) -> Result<(), TrainError> {
        let image = Image {
            height: height as i32,
            width: width as i32,
            colorspace: channels as i32,
            encoded_image_string: png,
        };
        let value = Value { tag: tag.into(), image: Some(image), ..Default::default() };
        let summary = Some(Summary { value: vec![value] });
        self.write(Event { step: step as i64, summary, ..Default::default() })
    }

    fn write(&mut self, event: Event) -> Result<(), TrainError> {
        let record = tfrecord::record(&Event { wall_time: now(), ..event }.encode_to_vec());
        append(&mut self.file, &record)
            .map_err(|source| TrainError::Write { path: self.path.clone(), source })
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file.
    fn read(path: &Path) -> Vec<Event> {
        let file = File::open(path).unwrap();
        let places = tfrecord::places(&file).unwrap().into_iter();
        places.map(|place| Event::decode(tfrecord::read(&file, place).unwrap().as_slice()).unwrap()).collect()
    }

    #[test]
    fn a_file_says_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 7).unwrap();
        events.scalars(8, [("train/bits_per_dim".into(), 3.5), ("train/lr".into(), 0.25)]).unwrap();
        events.image(8, "samples", [2, 3, 1], vec![1, 2, 3]).unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
        let read = read(&path);
        assert_eq!(read[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!((read[1].step, read[1].session_log.clone()), (8, Some(SessionLog { status: 1 })));
        let scalars = &read[2].summary.as_ref().unwrap().value;
        assert_eq!((read[2].step, scalars[0].tag.as_str()), (8, "train/bits_per_dim"));
        assert_eq!(scalars.iter().map(|v| v.simple_value.unwrap()).collect::<Vec<_>>(), [3.5, 0.25]);
        let image = read[3].summary.as_ref().unwrap().value[0].image.clone().unwrap();
        assert_eq!((image.height, image.width, image.encoded_image_string), (2, 3, vec![1, 2, 3]));
    }
}
