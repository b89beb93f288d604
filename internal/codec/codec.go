// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package codec turns values into payloads and back.
package codec

import "encoding/json"

// A Codec turns values into payloads and back. Its methods are called
// concurrently. Every process that uses a queue or topic needs the same codec;
// to move to another one, let it read both forms before anybody writes the new
// one.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// JSON is encoding/json.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
