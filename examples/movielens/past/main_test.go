package main

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFiles: a file for each source, named like it, with its fields as columns.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "past")
	if err := run(t.Context(), options{Dir: dir, Definitions: "../definitions", Generated: 30}, io.Discard); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]struct {
		rows   int
		column string
		cell   func(string) bool
	}{
		"ratings": {30, "rating", func(cell string) bool { return len(cell) == 1 || strings.HasSuffix(cell, ".5") }},
		"movies":  {1682, "genres", func(cell string) bool { return strings.HasPrefix(cell, `["`) }},
		"users":   {943, "gender", func(cell string) bool { return cell == "F" || cell == "M" || cell == "X" }},
	} {
		file, err := os.Open(filepath.Join(dir, source+".csv")) //nolint:gosec // it was just written
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(file).ReadAll()
		if err != nil || file.Close() != nil || len(rows) != want.rows+1 || rows[0][0] != "event_time" {
			t.Fatalf("%s: %d rows, %v", source, len(rows), err)
		}
		at := 0
		for i, name := range rows[0] {
			if name == want.column {
				at = i
			}
		}
		for _, row := range rows[1:] {
			if _, err := time.Parse(time.RFC3339Nano, row[0]); err != nil || !want.cell(row[at]) {
				t.Fatalf("%s: %v", source, row)
			}
		}
	}
}
