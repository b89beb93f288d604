// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package deploy holds no code: beside it are files to deploy examples/worker with, and its tests check
// them, the permissions against a real server.
package deploy
