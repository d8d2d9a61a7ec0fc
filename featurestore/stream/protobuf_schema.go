package stream

import (
	"context"
	"io"
	"io/fs"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// compileProtobuf compiles the text of a registered schema with those that it imports.
func compileProtobuf(ctx context.Context, text string, references []reference) (protoreflect.FileDescriptor, error) {
	const main = "registered.proto"
	files := map[string]string{main: text}
	for _, r := range references {
		files[r.name] = r.text
	}
	compiler := protocompile.Compiler{
		MaxParallelism: 1,
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: func(path string) (io.ReadCloser, error) {
			found, ok := files[path]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(strings.NewReader(found)), nil
		}}),
	}
	compiled, err := compiler.Compile(ctx, main)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, unusable("cannot be compiled: %v", err)
	}
	return compiled[0], nil
}
