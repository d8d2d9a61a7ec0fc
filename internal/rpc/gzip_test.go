package rpc

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
)

// TestAGzipBombIsNotReadToItsEnd: whoever is sent one stops a byte after what a message may have, and reads the next message.
func TestAGzipBombIsNotReadToItsEnd(t *testing.T) {
	member := &bytes.Buffer{}
	zip := gzip.NewWriter(member)
	if _, err := zip.Write(make([]byte, maxMessage)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.NewReader(bytes.Repeat(member.Bytes(), 50))
	b := &bombproof{}
	if err := b.Reset(bomb); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, b); n != maxMessage+1 || !errors.Is(err, errExpands) || bomb.Len() < 40*member.Len() {
		t.Errorf("%d bytes, %v, %d of %d bytes left", n, err, bomb.Len(), 50*member.Len())
	}
	if err := b.Reset(member); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, b); n != maxMessage || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
