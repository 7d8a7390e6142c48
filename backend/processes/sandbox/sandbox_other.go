//go:build !linux

package sandbox

func (r Rules) missing() []string {
	missing := []string{"files (needs Linux)", "signals to other processes (needs Linux)"}
	if !r.Network {
		missing = append(missing, "no network (needs Linux)")
	}
	if !r.Exec {
		missing = append(missing, "no programs (needs Linux)")
	}
	return missing
}

func (r Rules) enforce() error { return nil }
