// Reads a compose file as `docker compose` does (the same library), with every profile, and prints it resolved, as JSON.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithOsEnv, cli.WithEnvFiles(), cli.WithDotEnv, cli.WithProfiles([]string{"*"}))
	if err == nil {
		var resolved []byte
		project, failure := options.LoadProject(context.Background())
		if err = failure; err == nil {
			if resolved, err = project.MarshalJSON(); err == nil {
				fmt.Println(string(resolved))
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
