import package::weight_table::table_entry as shared_entry;

// The codebook of the second weight of a gated product, which is that of the first.

fn table_entry(index: u32) -> u32 {
    return shared_entry(index);
}
