//! What a model keeps of a text, to go on from in another process.

use super::LanguageModel;
use super::lora::LowRank;
use crate::error::{Error, Result};
use crate::formats::gguf::{self, GgufFile, GgufWriter};
use crate::graph::StateInfo;
use crate::tensor::{DType, Tensor};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::path::Path;

/// The tokens of a text and the content of a model's caches for them, of which only what is
/// filled is kept. The bytes are a GGUF file of its own type.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What errors call it.
    name: String,
    /// Of the model whose caches these are.
    fingerprint: String,
    tokens: Vec<u32>,
    states: Vec<(String, Tensor)>,
    attachment: Option<String>,
}

/// The type of such files.
const TYPE: &str = "wginfer.snapshot";

const FINGERPRINT: &str = "wginfer.model";
const ATTACHMENT: &str = "wginfer.attachment";
const TOKENS: &str = "tokens";

/// Bytes at the beginning, in the middle and at the end of each weight that tell models
/// apart which have the same sizes.
const SAMPLE: usize = 64;

impl Snapshot {
    /// The tokens whose caches it has.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What an application has put beside them.
    pub fn attachment(&self) -> Option<&str> {
        self.attachment.as_deref()
    }

    /// The same with a text of the application's beside it, such as the conversation.
    #[must_use]
    pub fn with_attachment(self, text: impl Into<String>) -> Self {
        Snapshot { attachment: Some(text.into()), ..self }
    }

    /// The whole file in memory.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.writer()?.to_bytes()
    }

    /// Reads what [`Snapshot::to_bytes`] gave. `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Format`] for what is no such file, naming what is wrong;
    /// [`Error::Unsupported`] for tensors of types that are not known.
    pub fn parse(bytes: Vec<u8>, name: &str) -> Result<Self> {
        Self::read(&GgufFile::parse(bytes, name)?)
    }

    /// Writes it to a file, replacing what is there, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let writer = self.writer()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let write = || {
            let file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
            let mut out = std::io::BufWriter::new(file);
            writer.write(&mut out)?;
            let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| Error::Io { path: path.to_path_buf(), source })
    }

    /// Reads what [`Snapshot::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`]; as [`Snapshot::parse`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(&gguf::open(path)?)
    }

    fn writer(&self) -> Result<GgufWriter> {
        let mut writer = GgufWriter::new();
        writer.metadata("general.type", TYPE)?;
        writer.metadata(FINGERPRINT, self.fingerprint.as_str())?;
        if let Some(text) = &self.attachment {
            writer.metadata(ATTACHMENT, text.as_str())?;
        }
        // The format has no tensors without elements.
        if self.tokens.is_empty() {
            return Ok(writer);
        }
        let tokens: Vec<i32> = self.tokens.iter().map(|&token| token as i32).collect();
        writer.tensor(TOKENS, Tensor::from_i32(&[tokens.len()], &tokens)?)?;
        for (name, state) in &self.states {
            writer.tensor(name, state.clone())?;
        }
        Ok(writer)
    }

    fn read(file: &GgufFile) -> Result<Self> {
        let meta = file.metadata();
        if meta.opt_str("general.type")? != Some(TYPE) {
            return Err(meta.error("general.type", format!("is not '{TYPE}'")));
        }
        let tokens = match file.tensor_info(TOKENS) {
            Some(info) if info.dtype() == Some(DType::I32) => info.load()?.to_i32()?,
            Some(_) => {
                let at = format!("tensor '{TOKENS}'");
                return Err(Error::format(file.name(), at, "not of 32-bit integers"));
            }
            None => Vec::new(),
        };
        let token = |&token: &i32| u32::try_from(token).ok();
        let wrong = || Error::format(file.name(), format!("tensor '{TOKENS}'"), "a number below 0");
        let mut states = Vec::new();
        for info in file.tensors().filter(|info| info.name() != TOKENS) {
            states.push((info.name().to_string(), info.load()?));
        }
        Ok(Snapshot {
            name: file.name().into(),
            fingerprint: meta.str_of(FINGERPRINT)?.into(),
            tokens: tokens.iter().map(token).collect::<Option<_>>().ok_or_else(wrong)?,
            states,
            attachment: meta.opt_str(ATTACHMENT)?.map(String::from),
        })
    }

    /// The content of a state, which has as many rows as there are tokens. `extents` are
    /// those that the model has.
    fn checked(&self, info: &StateInfo, extents: &[usize]) -> Result<&Tensor> {
        let name = &info.name;
        let wrong = |what: String| Error::format(&self.name, format!("tensor '{name}'"), what);
        let found = self.states.iter().find(|(other, _)| other == name);
        let (_, tensor) = found.ok_or_else(|| wrong("missing".into()))?;
        let mut expected = extents.to_vec();
        if let Some(axis) = info.growing {
            expected[axis] = self.tokens.len();
        }
        if tensor.dtype() != info.ty.dtype || tensor.extents() != expected {
            let (dtype, found) = (tensor.dtype(), tensor.extents());
            let wanted = info.ty.dtype;
            return Err(wrong(format!("{dtype}{found:?}, expected {wanted}{expected:?}")));
        }
        Ok(tensor)
    }
}

/// A tensor with more or fewer rows along an axis; new ones are zeros.
fn resized(tensor: &Tensor, axis: Option<usize>, extents: &[usize]) -> Result<Tensor> {
    let Some(axis) = axis else { return Ok(tensor.clone()) };
    let row: usize = tensor.dtype().bytes(&extents[axis + 1..])?;
    let outer: usize = extents[..axis].iter().product();
    let [from, to] = [tensor.extents()[axis], extents[axis]].map(|rows| rows * row);
    let bytes: &[u8] = tensor.bytes();
    let mut all = vec![0; outer * to];
    if from > 0 && to > 0 {
        for (new, old) in all.chunks_exact_mut(to).zip(bytes.chunks_exact(from)) {
            let both = from.min(to);
            new[..both].copy_from_slice(&old[..both]);
        }
    }
    Tensor::new(tensor.dtype(), extents, all)
}

impl LanguageModel {
    /// What the caches have of [`LanguageModel::kept`].
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model in two parts; what the device fails with.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        self.file().must_be_whole("a snapshot of what is kept")?;
        let mut states = Vec::new();
        let kept = !self.kept().is_empty();
        for info in self.session().graph().states().iter().filter(|_| kept) {
            let state = self.session().state(&info.name).await?;
            let mut extents = state.extents().to_vec();
            if let Some(axis) = info.growing {
                extents[axis] = self.kept().len();
            }
            states.push((info.name.clone(), resized(&state, info.growing, &extents)?));
        }
        Ok(Snapshot {
            name: "a snapshot".into(),
            fingerprint: fingerprint(self)?,
            tokens: self.kept().to_vec(),
            states,
            attachment: None,
        })
    }

    /// Fills the caches with what a snapshot has, so that texts go on from
    /// [`Snapshot::tokens`] as if these had been computed here.
    ///
    /// # Errors
    /// [`Error::Input`] for a snapshot of another model, of other caches or by another
    /// version; [`Error::Limit`] if it is longer than the context; [`Error::Format`] if it is
    /// damaged. Then the model keeps what it did. What the device fails with: then it keeps
    /// nothing.
    pub async fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.file().must_be_whole("a snapshot of what is kept")?;
        let own = fingerprint(self)?;
        if own != snapshot.fingerprint {
            let expected = format!("one of '{}', with the same options", self.spec().file);
            return Err(Error::input("snapshot", expected, "another model's"));
        }
        self.file().check_tokens(&snapshot.tokens)?;
        if snapshot.tokens.is_empty() {
            self.forget_all();
            return Ok(());
        }
        let states = self.session().graph().states().to_vec();
        // All is there and fits before caches grow for it.
        for info in &states {
            snapshot.checked(info, &self.session().state_extents(info)?)?;
        }
        self.reserve(snapshot.tokens.len()).await?;
        let mut values = Vec::with_capacity(states.len());
        for info in &states {
            let extents = self.session().state_extents(info)?;
            let tensor = snapshot.checked(info, &extents)?;
            values.push(resized(tensor, info.growing, &extents)?);
        }
        self.forget_all();
        for (info, value) in states.iter().zip(values) {
            self.session_mut().set_state(&info.name, &value).await?;
        }
        self.finish_restoring(&snapshot.tokens);
        Ok(())
    }
}

/// Tells models apart: by what is computed, by samples of all weights, by the caches' types.
fn fingerprint(model: &LanguageModel) -> Result<String> {
    let (file, graph) = (model.file(), model.session().graph());
    let mut hasher = SipHasher13::new();
    let mut spec = file.spec().clone();
    spec.file.clear();
    hasher.write(format!("{} {spec:?}", env!("CARGO_PKG_VERSION")).as_bytes());
    // Frequencies may go by the longest context that was asked for.
    for rope in [Some(&spec.rope), spec.local_rope.as_ref()].into_iter().flatten() {
        hasher.write(format!("{:?}", rope.frequencies(model.context())?).as_bytes());
    }
    for info in graph.states() {
        hasher.write(format!("{} {}", info.name, info.ty.dtype).as_bytes());
    }
    for info in file.gguf().tensors() {
        hasher.write(format!("{} {:?}", info.name(), info.extents()).as_bytes());
        // Of a type that is not known nothing is computed.
        let Ok(tensor) = info.load() else { continue };
        let bytes = tensor.bytes();
        let sample = SAMPLE.min(bytes.len());
        for start in [0, (bytes.len() - sample) / 2, bytes.len() - sample] {
            hasher.write(&bytes.get(start..start + sample).unwrap_or_default());
        }
    }
    file.added.hash(&mut hasher);
    Ok(format!("{:032x}", hasher.finish128().as_u128()))
}

impl LowRank {
    fn hash(&self, hasher: &mut SipHasher13) {
        for (name, tensor) in self.all() {
            hasher.write(name.as_bytes());
            hasher.write(tensor.bytes());
        }
    }
}
