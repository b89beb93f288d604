// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"fmt"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/jobs"
)

// A host starts what has to be started, in order, and stops it in reverse.
func Example() {
	host := hosting.New(hosting.Options{StopWhenIdle: true, Logger: silent})
	host.AddStartup("migrate", func(context.Context) error {
		fmt.Println("migrate")
		return nil
	})
	host.AddService("api", hosting.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done()
		fmt.Println("the api is closed after the last job")
		return nil
	}))
	host.AddJob(jobs.ErrFunc(func(context.Context) error {
		fmt.Println("import")
		return nil
	}), jobs.Options{Name: "import", IterationLimit: 1})
	fmt.Println(host.Run(context.Background()))
	// Output:
	// migrate
	// import
	// the api is closed after the last job
	// <nil>
}

// Everything that is wrong is found before anything starts.
func ExampleHost_Run_wrong() {
	host := hosting.New(hosting.Options{})
	host.AddStartup("migrate", nil)
	host.AddJob(nil, jobs.Options{Name: "import"})
	fmt.Println(host.Run(context.Background()))
	// Output:
	// hosting: wrong configuration: startup action "migrate": the function is nil
	// job "import": jobs: job is nil: want a Job
}
