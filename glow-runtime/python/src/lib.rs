//! The native module `glow._glow` of the Python package `glow`: `glow-runtime` over numpy arrays. What users see is the
//! package in `python/glow`, which brings arguments into the form that is asked for here and has the documentation.
//!
//! Arrays that go in are read where they lie, if their layout is numpy's usual one; arrays that come out are the library's
//! own memory. Whatever takes time runs without Python's lock.
mod arrays;
mod attributes;
mod errors;
mod model;
mod reference;

use pyo3::prelude::*;

#[pymodule]
mod _glow {
    #[pymodule_export]
    use super::attributes::Attributes;
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::model::grid;
    #[pymodule_export]
    use super::model::list_images;
    #[pymodule_export]
    use super::reference::Reference;
    use super::*;

    #[pymodule_init]
    fn initialise(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("has_faces64", cfg!(feature = "faces64"))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
