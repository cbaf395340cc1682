//! Builds one ONNX graph node by node, with the shape of every value.
use crate::fold::Layout;
use crate::frozen::{FrozenFile, FrozenTensor, Place};
use crate::onnx::*;
use glow_models::{Architecture, LevelShape, WEIGHTS_FILE};
use prost::bytes::Bytes;
use safetensors::Dtype;
use std::collections::HashSet;

/// ONNX operator set of the graphs.
pub(crate) const OPSET: i64 = 13;
/// The lowest IR version that has the operator set.
const IR_VERSION: i64 = 7;
/// Name of the batch axis, the first of every input, output and value, where its size is open.
const BATCH: &str = "N";

/// A value of the graph: its name, type, and shape behind the batch axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    name: String,
    data_type: DataType,
    pub shape: Vec<usize>,
    /// False for what comes of weights alone, which has no batch axis.
    batched: bool,
}

/// A graph under construction. Nodes are named as the architecture's layers, with `/` for `.`; a value
/// is named as the node that gives it.
pub(super) struct Builder<'a> {
    weights: &'a FrozenFile,
    graph: GraphProto,
    initializers: HashSet<String>,
    batch: Dimension,
}

impl<'a> Builder<'a> {
    /// An empty graph over the frozen weights, for batches of any size or of one.
    pub fn new(name: &str, weights: &'a FrozenFile, batch: Option<usize>) -> Self {
        let graph = GraphProto { name: name.into(), ..Default::default() };
        let batch = match batch {
            Some(images) => Dimension::Value(images as i64),
            None => Dimension::Param(BATCH.into()),
        };
        Self { weights, graph, initializers: HashSet::new(), batch }
    }

    /// An input of the graph.
    pub fn input(&mut self, name: &str, data_type: DataType, shape: &[usize]) -> Value {
        let value = Value { name: name.into(), data_type, shape: shape.to_vec(), batched: true };
        self.graph.input.push(value.info(&self.batch));
        value
    }

    /// Makes a value an output of the graph, under a name of its own.
    pub fn output(&mut self, mut value: Value, name: &str) -> Value {
        for node in &mut self.graph.node {
            for end in node.input.iter_mut().chain(&mut node.output).filter(|end| **end == value.name) {
                *end = name.into();
            }
        }
        self.graph.value_info.retain(|info| info.name != value.name);
        value.name = name.into();
        self.graph.output.push(value.info(&self.batch));
        value
    }

    /// Whether folding left such a tensor.
    pub fn has_weight(&self, name: &str) -> bool {
        self.weights.get(name).is_some()
    }

    /// Element type of a frozen tensor.
    pub fn weight_type(&self, name: &str) -> DataType {
        data_type(self.frozen(name).dtype)
    }

    fn frozen(&self, name: &str) -> &'a FrozenTensor {
        self.weights.get(name).unwrap_or_else(|| panic!("no frozen tensor {name}"))
    }

    /// A frozen tensor as an operand of a node: external data in `model.safetensors`, or in the graph.
    pub fn weight(&mut self, name: &str) -> Operand {
        let tensor = self.frozen(name);
        if self.initializers.insert(name.into()) {
            let mut proto = TensorProto {
                dims: tensor.shape.iter().map(|&n| n as i64).collect(),
                data_type: data_type(tensor.dtype).into(),
                name: name.into(),
                ..Default::default()
            };
            match &tensor.place {
                Place::Inline(bytes) => proto.raw_data = Some(bytes.clone()),
                Place::External { offset, length } => {
                    let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
                    proto.external_data = vec![
                        entry("location", WEIGHTS_FILE.into()),
                        entry("offset", offset.to_string()),
                        entry("length", length.to_string()),
                    ];
                    proto.data_location = DataLocation::External.into();
                }
            }
            self.graph.initializer.push(proto);
        }
        Operand(name.into())
    }

    /// A scalar constant, kept in the graph.
    pub fn scalar(&mut self, value: f32) -> Operand {
        self.constant(&format!("constant/{value}"), DataType::Float, &[], value.to_le_bytes().to_vec())
    }

    /// A small whole number as uint8, kept in the graph.
    pub fn byte(&mut self, value: u8) -> Operand {
        self.constant(&format!("constant/uint8/{value}"), DataType::Uint8, &[], vec![value])
    }

    /// A list of whole numbers, such as the sizes of a split, kept in the graph.
    fn integers(&mut self, values: &[usize]) -> Operand {
        let bytes: Vec<u8> = values.iter().flat_map(|&n| (n as i64).to_le_bytes()).collect();
        let name: Vec<String> = values.iter().map(usize::to_string).collect();
        self.constant(&format!("constant/[{}]", name.join(",")), DataType::Int64, &[values.len()], bytes)
    }

    fn constant(
        &mut self,
        name: &str,
        data_type: DataType,
        shape: &[usize],
        bytes: impl Into<Bytes>,
    ) -> Operand {
        if self.initializers.insert(name.into()) {
            self.graph.initializer.push(TensorProto {
                dims: shape.iter().map(|&n| n as i64).collect(),
                data_type: data_type.into(),
                name: name.into(),
                raw_data: Some(bytes.into()),
                ..Default::default()
            });
        }
        Operand(name.into())
    }

    /// The convolution of the weights `layer.weight` and, if there is one, `layer.bias`.
    pub fn conv(&mut self, layer: &str, input: &Value) -> Value {
        let mut weights = vec![self.weight(&format!("{layer}.weight"))];
        if self.has_weight(&format!("{layer}.bias")) {
            weights.push(self.weight(&format!("{layer}.bias")));
        }
        self.convolve(layer, input, weights)
    }

    /// A convolution with weights, and bias, that are given as operands. The kernel of `layer.weight`
    /// tells the kind: 1×1, 2×2 of stride 2 (a squeeze), 3×3 padded by 1.
    pub fn convolve(&mut self, layer: &str, input: &Value, weights: Vec<Operand>) -> Value {
        let shape = &self.frozen(&format!("{layer}.weight")).shape;
        let (outputs, inputs, kernel) = (shape[0], shape[1], shape[2]);
        assert_eq!(inputs, input.shape[0], "channels into {layer}");
        let (stride, padding) = match kernel {
            1 => (1, 0),
            2 => (2, 0),
            3 => (1, 1),
            _ => panic!("a kernel of {kernel} in {layer}"),
        };
        let inputs = std::iter::once(input.into()).chain(weights).collect();
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("pads", &[padding; 4]),
            ints("strides", &[stride; 2]),
        ];
        let shape = vec![outputs, input.shape[1] / stride, input.shape[2] / stride];
        self.node("Conv", &node_name(layer), inputs, attributes, input.data_type, shape)
    }

    /// 8-bit steps of type `to`; `steps` are their scale and zero point, which has this type.
    pub fn quantize(&mut self, name: &str, input: &Value, steps: &[Operand], to: DataType) -> Value {
        let inputs = [input.into()].into_iter().chain(steps.iter().cloned()).collect();
        self.node("QuantizeLinear", name, inputs, vec![], to, input.shape.clone())
    }

    /// Back to float; with an axis, the scale is one number for each of its entries.
    pub fn dequantize(&mut self, name: &str, input: &Value, steps: &[Operand], axis: Option<i64>) -> Value {
        let inputs = [input.into()].into_iter().chain(steps.iter().cloned()).collect();
        let attributes = axis.map(|axis| int("axis", axis)).into_iter().collect();
        self.node("DequantizeLinear", name, inputs, attributes, DataType::Float, input.shape.clone())
    }

    /// Frozen tensors of a layer as operands.
    pub fn weights_of<const N: usize>(&mut self, layer: &str, parts: [&str; N]) -> [Operand; N] {
        parts.map(|part| self.weight(&format!("{layer}.{part}")))
    }

    /// A frozen integer tensor with a scale for each entry of its first axis, as float.
    pub fn dequantized_weight(&mut self, tensor: &str) -> Operand {
        let mut inputs = vec![self.weight(tensor), self.weight(&format!("{tensor}_scale"))];
        // 32-bit integers have no zero point.
        if self.has_weight(&format!("{tensor}_zero_point")) {
            inputs.push(self.weight(&format!("{tensor}_zero_point")));
        }
        let value = Value {
            name: format!("{}/dequantize", node_name(tensor)),
            data_type: DataType::Float,
            shape: self.frozen(tensor).shape.clone(),
            batched: false,
        };
        let name = value.name.clone();
        self.push("DequantizeLinear", &name, inputs, vec![int("axis", 0)], std::slice::from_ref(&value));
        (&value).into()
    }

    /// A node of any number of operands that has the shape of the first; the others are as large or
    /// are stretched to it.
    pub fn elementwise(&mut self, op: &str, name: &str, first: &Value, others: &[Operand]) -> Value {
        let inputs = std::iter::once(first.into()).chain(others.iter().cloned()).collect();
        self.node(op, name, inputs, vec![], first.data_type, first.shape.clone())
    }

    /// The sum of several values, two at a time: `Sum` of more is an operator that not every provider has.
    pub fn sum(&mut self, name: &str, first: &Value, others: &[Operand]) -> Value {
        let mut sum = first.clone();
        for (i, other) in others.iter().enumerate() {
            let name = if i + 1 == others.len() { name.to_string() } else { format!("{name}/{i}") };
            sum = self.elementwise("Add", &name, &sum, std::slice::from_ref(other));
        }
        sum
    }

    pub fn cast(&mut self, name: &str, input: &Value, to: DataType) -> Value {
        let attributes = vec![int("to", i32::from(to) as i64)];
        self.node("Cast", name, vec![input.into()], attributes, to, input.shape.clone())
    }

    /// The first channels and the rest.
    pub fn split(&mut self, name: &str, input: &Value, first: usize) -> (Value, Value) {
        let sizes = [first, input.shape[0] - first];
        let inputs = vec![input.into(), self.integers(&sizes)];
        let parts = [0, 1].map(|part| {
            let mut shape = input.shape.clone();
            shape[0] = sizes[part];
            Value { name: format!("{name}:{part}"), data_type: input.data_type, shape, batched: true }
        });
        self.push("Split", name, inputs, vec![int("axis", 1)], &parts);
        parts.into()
    }

    /// Values one behind the other in the channels.
    pub fn concat(&mut self, name: &str, parts: &[&Value]) -> Value {
        let mut shape = parts[0].shape.clone();
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        let inputs = parts.iter().map(|&part| part.into()).collect();
        self.node("Concat", name, inputs, vec![int("axis", 1)], parts[0].data_type, shape)
    }

    /// Channels first to channels last, or back.
    pub fn transpose(&mut self, name: &str, input: &Value, order: [usize; 4]) -> Value {
        let shape = order[1..].iter().map(|&axis| input.shape[axis - 1]).collect();
        self.node("Transpose", name, vec![input.into()], vec![ints("perm", &order)], input.data_type, shape)
    }

    /// The inverse of the squeeze: (4c, h, w) to (c, 2h, 2w), channels in the order (channel, row
    /// offset, column offset).
    pub fn unsqueeze(&mut self, name: &str, input: &Value) -> Value {
        let shape = vec![input.shape[0] / 4, 2 * input.shape[1], 2 * input.shape[2]];
        let attributes = vec![int("blocksize", 2), string("mode", "CRD")];
        self.node("DepthToSpace", name, vec![input.into()], attributes, input.data_type, shape)
    }

    /// The sum over everything but the batch.
    pub fn reduce_sum(&mut self, name: &str, input: &Value) -> Value {
        let inputs = vec![input.into(), self.integers(&[1, 2, 3])];
        self.node("ReduceSum", name, inputs, vec![int("keepdims", 0)], input.data_type, vec![])
    }

    /// The layout of a level's channels, by its first network's inputs.
    pub fn layout(&self, level: usize, shape: &LevelShape) -> Layout {
        let network = Architecture::step_name(level, 0);
        let inputs = self.frozen(&format!("{network}.coupling.conv1.weight")).shape[1];
        Layout::of_frozen(shape.channels, inputs)
    }

    /// The row of a frozen table for each label.
    pub fn gather(&mut self, table: &str, labels: &Value) -> Value {
        let shape = self.frozen(table).shape[1..].to_vec();
        let inputs = vec![self.weight(table), labels.into()];
        self.node("Gather", &node_name(table), inputs, vec![int("axis", 0)], DataType::Float, shape)
    }

    fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: Vec<Operand>,
        attributes: Vec<AttributeProto>,
        data_type: DataType,
        shape: Vec<usize>,
    ) -> Value {
        let value = Value { name: name.into(), data_type, shape, batched: true };
        self.push(op, name, inputs, attributes, std::slice::from_ref(&value));
        value
    }

    fn push(
        &mut self,
        op: &str,
        name: &str,
        inputs: Vec<Operand>,
        attribute: Vec<AttributeProto>,
        outputs: &[Value],
    ) {
        self.graph.value_info.extend(outputs.iter().map(|value| value.info(&self.batch)));
        self.graph.node.push(NodeProto {
            input: inputs.into_iter().map(|operand| operand.0).collect(),
            output: outputs.iter().map(|value| value.name.clone()).collect(),
            name: name.into(),
            op_type: op.into(),
            attribute,
        });
    }

    /// The model around the graph.
    pub fn finish(self, doc: &str, metadata: &[(&str, String)]) -> ModelProto {
        ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: doc.into(),
            graph: Some(self.graph),
            metadata_props: metadata
                .iter()
                .map(|(key, value)| StringStringEntryProto { key: (*key).into(), value: value.clone() })
                .collect(),
        }
    }
}

/// What a node takes besides its first value: another value, or a constant.
#[derive(Debug, Clone)]
pub(super) struct Operand(String);

impl From<&Value> for Operand {
    fn from(value: &Value) -> Self {
        Self(value.name.clone())
    }
}

impl Value {
    fn info(&self, batch: &Dimension) -> ValueInfoProto {
        let sizes = self.shape.iter().map(|&size| Dimension::Value(size as i64));
        let dim = self
            .batched
            .then(|| batch.clone())
            .into_iter()
            .chain(sizes)
            .map(|value| DimensionProto { value: Some(value) })
            .collect();
        let tensor =
            TensorTypeProto { elem_type: self.data_type.into(), shape: Some(TensorShapeProto { dim }) };
        ValueInfoProto { name: self.name.clone(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
    }
}

/// The ONNX type of frozen elements.
fn data_type(dtype: Dtype) -> DataType {
    match dtype {
        Dtype::F32 => DataType::Float,
        Dtype::F16 => DataType::Float16,
        Dtype::I8 => DataType::Int8,
        Dtype::U8 => DataType::Uint8,
        Dtype::I32 => DataType::Int32,
        _ => panic!("no frozen tensor is of type {dtype}"),
    }
}

/// A layer's name as a path.
pub(super) fn node_name(layer: &str) -> String {
    layer.replace('.', "/")
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i: Some(value),
        r#type: AttributeType::Int.into(),
        ..Default::default()
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&n| n as i64).collect();
    AttributeProto { name: name.into(), ints, r#type: AttributeType::Ints.into(), ..Default::default() }
}

fn string(name: &str, value: &str) -> AttributeProto {
    let s = Some(value.as_bytes().to_vec());
    AttributeProto { name: name.into(), s, r#type: AttributeType::String.into(), ..Default::default() }
}
