"""Data sets: what peers train on, how it is read, split and shared out."""

from __future__ import annotations

from quinkgl.data.datasets import DataError, DataFileError, Dataset, load_digits
from quinkgl.data.idx import FASHION_MNIST_FOLDER, load_idx_folder, read_idx
from quinkgl.data.partition import Partition, partition_dirichlet, partition_iid
from quinkgl.data.sources import load_dataset
from quinkgl.data.split import stratified_sample, stratified_split
from quinkgl.data.tables import load_csv, load_npz, save_npz

__all__ = [
    "FASHION_MNIST_FOLDER",
    "DataError",
    "DataFileError",
    "Dataset",
    "Partition",
    "load_csv",
    "load_dataset",
    "load_digits",
    "load_idx_folder",
    "load_npz",
    "partition_dirichlet",
    "partition_iid",
    "read_idx",
    "save_npz",
    "stratified_sample",
    "stratified_split",
]
