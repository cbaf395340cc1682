//! The numbers of fields in `onnx.proto3`, by message, as far as bundles need them; see [`protobuf`](crate::protobuf).

/// Fields of a `ModelProto`.
pub mod model {
    /// `graph`
    pub const GRAPH: u32 = 7;
    /// `training_info`
    pub const TRAINING_INFO: u32 = 20;
    /// `functions`
    pub const FUNCTIONS: u32 = 25;
}

/// Fields of a `GraphProto`.
pub mod graph {
    /// `node`
    pub const NODE: u32 = 1;
    /// `initializer`
    pub const INITIALIZER: u32 = 5;
    /// `sparse_initializer`
    pub const SPARSE_INITIALIZER: u32 = 15;
}

/// Fields of a `NodeProto`.
pub mod node {
    /// `name`
    pub const NAME: u32 = 3;
    /// `op_type`
    pub const OP_TYPE: u32 = 4;
    /// `attribute`
    pub const ATTRIBUTE: u32 = 5;
    /// `domain`
    pub const DOMAIN: u32 = 7;
}

/// Fields of an `AttributeProto`.
pub mod attribute {
    /// `t`
    pub const TENSOR: u32 = 5;
    /// `g`
    pub const GRAPH: u32 = 6;
    /// `tensors`
    pub const TENSORS: u32 = 10;
    /// `graphs`
    pub const GRAPHS: u32 = 11;
    /// `sparse_tensor`
    pub const SPARSE_TENSOR: u32 = 22;
    /// `sparse_tensors`
    pub const SPARSE_TENSORS: u32 = 23;
}

/// Fields of a `TensorProto`.
pub mod tensor {
    /// `dims`
    pub const DIMS: u32 = 1;
    /// `data_type`
    pub const DATA_TYPE: u32 = 2;
    /// `name`
    pub const NAME: u32 = 8;
    /// `external_data`
    pub const EXTERNAL_DATA: u32 = 13;
    /// `data_location`
    pub const DATA_LOCATION: u32 = 14;
}

/// Fields of a `StringStringEntryProto`.
pub mod entry {
    /// `key`
    pub const KEY: u32 = 1;
    /// `value`
    pub const VALUE: u32 = 2;
}
