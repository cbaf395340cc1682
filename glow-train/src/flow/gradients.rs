//! The gradient as one flat vector, the slots of a layer's parameters in it, and libtorch's automatic
//! differentiation into them.
use super::Parameters;
use crate::torch::no_grad;
use std::ops::Range;
use tch::Tensor;

/// Trained parameters of a layer, each with its place in the flat gradient.
#[derive(Debug)]
pub(super) struct Slots(Vec<(usize, Tensor)>);

impl Slots {
    /// Those of the parameters of these names.
    ///
    /// # Panics
    /// If the architecture has no trained parameter of a name.
    pub(super) fn new<S: AsRef<str>>(parameters: &Parameters, names: impl IntoIterator<Item = S>) -> Self {
        let slot = |name: S| (parameters.slot(name.as_ref()), parameters.get(name.as_ref()));
        Self(names.into_iter().map(slot).collect())
    }
}

/// The gradient by every trained parameter, in the architecture's order.
#[derive(Debug)]
pub struct Gradients {
    flat: Tensor,
    /// Views of `flat`, in the parameters' shapes.
    parts: Vec<Tensor>,
    /// The elements of `flat` that are those of each level, and last those of what is above the levels.
    sections: Vec<Range<i64>>,
}

impl Gradients {
    /// Zeros. A parameter that the loss does not depend on keeps them.
    pub fn zeros(parameters: &Parameters) -> Self {
        let flat = parameters.flat().zeros_like();
        let mut begin = 0;
        let mut part = |tensor: Tensor| {
            let length = tensor.numel() as i64;
            let part = flat.narrow(0, begin, length).view(tensor.size().as_slice());
            begin += length;
            part
        };
        let parts = parameters.trained().map(|(_, tensor)| part(tensor)).collect();
        Self { flat, parts, sections: sections(parameters) }
    }

    /// The parts of the flat gradient in the order in which the backward pass completes them: what is
    /// above the levels, then the levels from the last to the first. Together they are all of it.
    pub fn sections(&self) -> impl Iterator<Item = Tensor> {
        let sections = (0..self.sections.len()).rev().map(|section| self.section(section));
        sections.filter(|section| section.numel() > 0)
    }

    /// The part of the flat gradient that is a level's; that of what is above the levels has the number behind
    /// the last one.
    pub(super) fn section(&self, section: usize) -> Tensor {
        let Range { start, end } = self.sections[section];
        self.flat.narrow(0, start, end - start)
    }

    /// One tensor a trained parameter, in its shape.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.parts.iter()
    }

    /// The gradients by the N parameters of `slots`, in their order: views to write to.
    ///
    /// # Panics
    /// If `slots` has not N parameters.
    pub(super) fn views<const N: usize>(&self, slots: &Slots) -> [Tensor; N] {
        assert_eq!(slots.0.len(), N);
        std::array::from_fn(|index| self.parts[slots.0[index].0].shallow_clone())
    }

    /// All gradients one after the other, in the order of [`Parameters::flat`].
    pub fn flat(&self) -> Tensor {
        self.flat.shallow_clone()
    }
}

/// The places of the levels' parameters, and of what comes after them, in the flat tensors.
fn sections(parameters: &Parameters) -> Vec<Range<i64>> {
    let mut sections: Vec<Range<i64>> = Vec::new();
    let (mut begin, mut current) = (0, None);
    for (parameter, tensor) in parameters.trained() {
        let group = parameter.name.split('.').next().filter(|group| group.starts_with("level"));
        let end = begin + tensor.numel() as i64;
        match sections.last_mut().filter(|_| current == Some(group)) {
            Some(section) => section.end = end,
            None => sections.push(begin..end),
        }
        (begin, current) = (end, Some(group));
    }
    if current.flatten().is_some() {
        // Nothing above the levels is trained.
        sections.push(begin..begin);
    }
    sections
}

/// Differentiates a scalar by libtorch's autograd: writes its gradient by the parameters of `slots` into
/// `gradients`, and returns the gradient by each of `inputs`.
///
/// # Panics
/// If the loss has no autograd history, or libtorch fails.
pub(super) fn differentiate<const N: usize>(
    loss: &Tensor,
    inputs: [&Tensor; N],
    slots: &[&Slots],
    gradients: &mut Gradients,
) -> [Tensor; N] {
    // libtorch would read a null pointer.
    assert!(loss.requires_grad(), "the loss was computed where gradients are off");
    let slots: Vec<&(usize, Tensor)> = slots.iter().flat_map(|slots| &slots.0).collect();
    let mut by: Vec<&Tensor> = inputs.to_vec();
    by.extend(slots.iter().map(|(_, tensor)| tensor));
    let mut found = Tensor::run_backward(&[loss], &by, false, false).into_iter();
    let by_inputs = std::array::from_fn(|index| {
        let gradient = found.next().expect("one gradient an input");
        if gradient.defined() { gradient } else { Tensor::zeros_like(inputs[index]).detach() }
    });
    no_grad(|| {
        for ((slot, _), gradient) in slots.into_iter().zip(found) {
            if gradient.defined() {
                gradients.parts[*slot].copy_(&gradient);
            }
        }
    });
    by_inputs
}
