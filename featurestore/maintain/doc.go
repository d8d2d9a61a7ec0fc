// Package maintain looks after what is stored: it verifies that the rows in Redis are what
// history says they should be, fills views from history, and samples the values that
// features had.
package maintain
