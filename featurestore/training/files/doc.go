// Package files reads and writes tables as files, batch by batch: CSV, Parquet, and the
// Arrow formats. What is read is checked on the way, and what is written appears under its
// name when it is whole.
package files
