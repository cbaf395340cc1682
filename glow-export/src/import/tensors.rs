//! The tensors of a foreign file by name, read when they are asked for; what nobody asks for is noticed.
use super::ImportError;
use ndarray::{Array2, Array4};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Gives a tensor's elements, row-major.
type Read = Box<dyn Fn() -> Result<Vec<f64>, String>>;

/// One tensor that has not been read yet.
pub(super) struct Entry {
    pub shape: Vec<usize>,
    pub read: Read,
}

/// Named tensors.
pub(super) struct Tensors {
    entries: BTreeMap<String, Entry>,
    used: RefCell<BTreeSet<String>>,
}

impl Tensors {
    pub fn new(entries: BTreeMap<String, Entry>) -> Self {
        Self { entries, used: RefCell::default() }
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Takes a prefix off the names that have it; the others stay.
    pub fn without_prefix(self, prefix: &str) -> Self {
        let strip = |name: String| match name.strip_prefix(prefix) {
            Some(rest) => rest.to_string(),
            None => name,
        };
        let entries = self.entries.into_iter().map(|(name, entry)| (strip(name), entry)).collect();
        Self { entries, used: RefCell::new(self.used.into_inner().into_iter().map(strip).collect()) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    pub fn shape(&self, name: &str) -> Result<&[usize], ImportError> {
        Ok(&self.entry(name)?.shape)
    }

    /// Channels of the image, of which the first squeeze makes four times as many: a vector has one number for
    /// each of those.
    pub fn image_channels(&self, vector: &str) -> Result<usize, ImportError> {
        let shape = self.shape(vector)?;
        let channels = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        channels.filter(|channels| channels % 4 == 0).map(|channels| channels / 4).ok_or_else(|| {
            ImportError::tensor(vector, format!("has shape {shape:?}, no multiple of four channels"))
        })
    }

    fn entry(&self, name: &str) -> Result<&Entry, ImportError> {
        self.entries.get(name).ok_or_else(|| ImportError::tensor(name, "is missing"))
    }

    /// Elements of a tensor, whatever its shape.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, ImportError> {
        let entry = self.entry(name)?;
        self.know(name);
        let numbers = (entry.read)().map_err(|problem| ImportError::tensor(name, problem))?;
        match numbers.iter().find(|number| !number.is_finite()) {
            Some(number) => Err(ImportError::tensor(name, format!("holds {number}"))),
            None => Ok(numbers),
        }
    }

    /// Elements of a tensor of these sizes, axes of 1 aside.
    fn sized(&self, name: &str, sizes: &[usize]) -> Result<Vec<f64>, ImportError> {
        let shape = self.shape(name)?;
        let plain = |sizes: &[usize]| sizes.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
        if plain(shape) != plain(sizes) {
            return Err(ImportError::tensor(
                name,
                format!("has shape {shape:?} where {sizes:?} is expected"),
            ));
        }
        self.numbers(name)
    }

    /// A number a channel, in whatever way of stretching: [C], [1, C, 1, 1], [1, 1, 1, C] and so on.
    pub fn vector(&self, name: &str, length: usize) -> Result<Vec<f64>, ImportError> {
        self.sized(name, &[length])
    }

    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Array2<f64>, ImportError> {
        let numbers = self.sized(name, &[rows, columns])?;
        Array2::from_shape_vec((rows, columns), numbers)
            .map_err(|_| ImportError::tensor(name, "has another number of elements than its shape"))
    }

    /// A convolution's weights, of exactly this shape.
    pub fn kernel(&self, name: &str, shape: [usize; 4]) -> Result<Array4<f64>, ImportError> {
        let actual = self.shape(name)?;
        if actual != shape {
            return Err(ImportError::tensor(
                name,
                format!("has shape {actual:?} where {shape:?} is expected"),
            ));
        }
        Array4::from_shape_vec(shape, self.numbers(name)?)
            .map_err(|_| ImportError::tensor(name, "has another number of elements than its shape"))
    }

    /// Notes that a tensor is accounted for, read or not.
    pub fn know(&self, name: &str) {
        self.used.borrow_mut().insert(name.into());
    }

    /// Notes that all tensors are accounted for whose names `known` takes.
    pub fn know_all(&self, known: impl Fn(&str) -> bool) {
        self.names().filter(|name| known(name)).for_each(|name| self.know(name));
    }

    /// The tensors that nobody has asked for.
    pub fn unknown(&self) -> Vec<String> {
        let used = self.used.borrow();
        self.names().filter(|name| !used.contains(*name)).map(str::to_string).collect()
    }

    /// Checks that every tensor is accounted for.
    pub fn check_all_known(&self, implementation: &'static str) -> Result<(), ImportError> {
        match self.unknown().into_iter().next() {
            Some(tensor) => Err(ImportError::UnknownTensor { tensor, implementation }),
            None => Ok(()),
        }
    }

    /// One more than the highest number that stands behind `prefix` (and before a dot or the end) in any name.
    pub fn count(&self, prefix: &str) -> usize {
        let number = |name: &str| {
            let rest = name.strip_prefix(prefix)?;
            let digits = rest.split(['.', '/']).next()?;
            // Nothing that is built has more; a larger number is damage.
            digits.parse::<usize>().ok().filter(|&number| number < 1 << 20)
        };
        self.names().filter_map(number).max().map_or(0, |highest| highest + 1)
    }
}
