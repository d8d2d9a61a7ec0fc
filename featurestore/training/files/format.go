package files

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Std is the name of the standard input or output, which are CSV.
const Std = "-"

type format int

const (
	csvFormat format = iota
	parquetFormat
	arrowFormat
	streamFormat
)

// extensions are those that people use.
var extensions = map[string]format{
	".csv": csvFormat, ".parquet": parquetFormat, ".arrow": arrowFormat, ".feather": arrowFormat, ".arrows": streamFormat,
}

// Check says what is wrong with the name of a file.
func Check(name string) error {
	_, err := formatOf(name)
	return err
}

func formatOf(name string) (format, error) {
	if name == Std {
		return csvFormat, nil
	}
	f, ok := extensions[strings.ToLower(filepath.Ext(name))]
	if !ok {
		return 0, fmt.Errorf("%s: the format is told by the extension: .csv, .parquet, .arrow or .feather (Arrow file), .arrows (Arrow stream); - is CSV", name)
	}
	return f, nil
}
