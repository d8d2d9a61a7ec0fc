package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// versionCommand prints the version.
type versionCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*versionCommand) Help() string { return "Example:\n\n    onehop version --json" }

// buildVersion is what the Go linker knows of the program.
type buildVersion struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints the version.
func (c *versionCommand) Run(s Streams) error {
	v := readVersion()
	if c.JSON {
		return writeJSON(s.Out, v)
	}
	fmt.Fprintf(s.Out, "onehop %s", v.Version)
	if v.Revision != "" {
		fmt.Fprintf(s.Out, " (%.12s", v.Revision)
		if v.Modified {
			fmt.Fprint(s.Out, ", modified")
		}
		fmt.Fprint(s.Out, ")")
	}
	fmt.Fprintf(s.Out, ", %s, %s\n", v.Go, v.Platform)
	return nil
}

func readVersion() buildVersion {
	v := buildVersion{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Revision = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}
