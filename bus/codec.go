// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"

	"github.com/jetjobs/jetjobs/internal/codec"
)

// A Codec turns values into payloads and back. Its methods are called
// concurrently. Every process that uses a topic needs the same codec; to move to
// another one, let it read both forms before anybody writes the new one.
type Codec = codec.Codec

// JSON is the default Codec: encoding/json.
var JSON = codec.JSON

// Raw is the type of a topic whose payloads the codec leaves alone: for several
// types under one wildcard, and for what is not ours to decode.
type Raw []byte

func encode(codec Codec, value any) ([]byte, error) {
	if raw, ok := value.(Raw); ok {
		return raw, nil
	}
	data, err := codec.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode the value: %w", err)
	}
	return data, nil
}

// decode fills what into points at.
func decode(codec Codec, data []byte, into any) error {
	if raw, ok := into.(*Raw); ok {
		*raw = data
		return nil
	}
	if err := codec.Unmarshal(data, into); err != nil {
		return &decodeError{err}
	}
	return nil
}
