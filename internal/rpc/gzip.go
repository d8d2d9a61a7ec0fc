package rpc

import (
	"compress/gzip"
	"errors"
	"io"

	"connectrpc.com/connect"
)

var errExpands = errors.New("it expands to more than a message may have")

// bombproof reads gzip up to what a message may have, and a byte: Connect reads what is longer to its end, to tell how long it is, and
// a few megabytes keep a processor busy for seconds. It is for one goroutine at a time.
type bombproof struct {
	gzip gzip.Reader
	left int64
}

// Read implements io.Reader.
func (b *bombproof) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errExpands
	}
	n, err := b.gzip.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Close implements connect.Decompressor.
func (b *bombproof) Close() error { return b.gzip.Close() }

// Reset implements connect.Decompressor.
func (b *bombproof) Reset(from io.Reader) error {
	b.left = maxMessage + 1
	return b.gzip.Reset(from)
}

func gzipOption() connect.HandlerOption {
	return connect.WithCompression("gzip",
		func() connect.Decompressor { return &bombproof{} },
		func() connect.Compressor { return gzip.NewWriter(io.Discard) })
}
