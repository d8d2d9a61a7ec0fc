package rpc

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// strictJSON reads and writes messages as Connect's own JSON codec does, but that a field which the message does not have is an error:
// Connect's passes it over, and a misspelt name would be a value that nobody gave.
type strictJSON struct{ name string }

// strictJSONOption has handlers use it, under the names of Connect's.
func strictJSONOption() connect.HandlerOption {
	return connect.WithHandlerOptions(connect.WithCodec(strictJSON{"json"}), connect.WithCodec(strictJSON{"json; charset=utf-8"}))
}

// Name is within the content type.
func (c strictJSON) Name() string { return c.name }

// Marshal writes a message.
func (c strictJSON) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend writes a message after what is there.
func (strictJSON) MarshalAppend(to []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return protojson.MarshalOptions{}.MarshalAppend(to, m)
}

// Unmarshal reads a message.
func (strictJSON) Unmarshal(text []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	if len(text) == 0 {
		return errors.New("there is none: want a JSON object, {} for one without fields")
	}
	if err := protojson.Unmarshal(text, m); err != nil {
		return fmt.Errorf("the JSON is no %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return nil
}
