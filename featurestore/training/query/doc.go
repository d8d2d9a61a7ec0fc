// Package query reads the rows of a SQL query as Arrow record batches, in a transaction
// that can write nothing, row by row as Postgres sends them.
package query
