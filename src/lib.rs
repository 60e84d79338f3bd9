//! A serving benchmark for large language models.
