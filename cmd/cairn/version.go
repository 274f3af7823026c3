package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the next release.
const version = "0.1.0-dev"

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print what this program is",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			shown := struct {
				Version string `json:"version"`
				Commit  string `json:"commit"` // empty if not known
				Go      string `json:"go"`
				System  string `json:"system"`
			}{version, commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			of := ""
			if shown.Commit != "" {
				of = " " + shown.Commit
			}
			return a.show(shown, "cairn %s%s %s %s", shown.Version, of, shown.Go, shown.System)
		},
	}
}

// commit returns the commit that the program was built from, empty if unknown.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}
