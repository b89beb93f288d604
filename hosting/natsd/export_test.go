// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natsd

import "github.com/nats-io/nats-server/v2/server"

// JetStreamConfig is what the server itself says it runs with.
func (s *Server) JetStreamConfig() *server.JetStreamConfig { return s.srv.JetStreamConfig() }
