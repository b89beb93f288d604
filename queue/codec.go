// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "github.com/jetjobs/jetjobs/internal/codec"

// A Codec turns values into payloads and back. Its methods are called
// concurrently. Every process that uses a queue needs the same codec; to move
// to another one, let it read both forms before anybody writes the new one.
type Codec = codec.Codec

// JSON is the default Codec: encoding/json.
var JSON = codec.JSON
