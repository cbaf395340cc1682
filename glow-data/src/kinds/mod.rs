//! The kinds of data set, a file each.
pub(crate) mod celeba;
pub(crate) mod celeba_lists;
pub(crate) mod cifar10;
pub(crate) mod imagenet;
pub(crate) mod images;
pub(crate) mod lsun;
pub(crate) mod mnist;
pub(crate) mod openai;
