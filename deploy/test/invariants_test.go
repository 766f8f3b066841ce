package deploy

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// workload is an object that runs pods.
type workload struct {
	name     string
	template corev1.PodTemplateSpec
	replicas int32
	selector *metav1.LabelSelector // nil for a Job or a Pod
}

func (o *objects) workloads() []workload {
	var all []workload
	for _, d := range of[*appsv1.Deployment](o) {
		w := workload{describe(d), d.Spec.Template, 0, d.Spec.Selector}
		if d.Spec.Replicas != nil {
			w.replicas = *d.Spec.Replicas
		}
		all = append(all, w)
	}
	for _, j := range of[*batchv1.Job](o) {
		all = append(all, workload{describe(j), j.Spec.Template, 1, nil})
	}
	for _, p := range of[*corev1.Pod](o) {
		all = append(all, workload{describe(p), corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}, 1, nil})
	}
	return all
}

// selected returns the workloads whose pods have the labels.
func (o *objects) selected(by map[string]string) []workload {
	return slices.DeleteFunc(o.workloads(), func(w workload) bool {
		return len(by) == 0 || !labels.SelectorFromSet(by).Matches(labels.Set(w.template.Labels))
	})
}

// madeByJobs returns the Secrets that Jobs make at their run, with their keys.
func (o *objects) madeByJobs() map[string][]string {
	all := make(map[string][]string)
	for _, j := range of[*batchv1.Job](o) {
		name := ""
		for _, arg := range j.Spec.Template.Spec.Containers[0].Args[2:] {
			if n, ok := strings.CutPrefix(arg, "--kubernetes="); ok {
				name = n
			} else if !strings.HasPrefix(arg, "--") {
				all[name] = append(all[name], arg)
			}
		}
	}
	return all
}

// expectSound checks all relations between the objects. others are names of existing objects, in the form of
// [describe].
func (o *objects) expectSound(others ...string) {
	o.t.Helper()
	if len(o.workloads()) == 0 {
		o.t.Fatalf("nothing runs: %s", o)
	}
	for secret := range o.madeByJobs() {
		others = append(others, "Secret "+secret)
	}
	for _, w := range o.workloads() {
		o.expectPod(w, others)
		o.expectRestricted(w)
		if w.selector == nil {
			continue
		}
		if !labels.SelectorFromSet(w.selector.MatchLabels).Matches(labels.Set(w.template.Labels)) {
			o.t.Errorf("%s selects %v, and its pods have %v", w.name, w.selector.MatchLabels, w.template.Labels)
		}
		if same := o.selected(w.selector.MatchLabels); len(same) != 1 {
			o.t.Errorf("%s selects the pods of %d workloads", w.name, len(same))
		}
	}
	o.expectServices()
	o.expectAvailable()
	o.expectPolicies()
	o.expectRoutes()
	o.expectWatched()
}

// expectPod checks the references of a pod.
func (o *objects) expectPod(w workload, others []string) {
	o.t.Helper()
	pod, volumes := w.template.Spec, make(map[string]bool)
	exists := func(kind, name string) {
		o.t.Helper()
		if !o.has(kind+" "+name) && !slices.Contains(others, kind+" "+name) {
			o.t.Errorf("%s needs %s %s, which there is not among %s", w.name, kind, name, o)
		}
	}
	if pod.ServiceAccountName != "default" {
		exists("ServiceAccount", pod.ServiceAccountName)
	}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		o.expectVolume(w, v, exists)
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, m := range c.VolumeMounts {
			at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
			if at < 0 || m.SubPath != "" || !m.ReadOnly && pod.Volumes[at].EmptyDir == nil {
				o.t.Errorf("%s mounts %+v: want one of its volumes, as a folder, to read", w.name, m)
			}
			delete(volumes, m.Name)
		}
		defined := make(map[string]bool)
		for _, e := range c.Env {
			o.expectDefined(w, e.Value, defined)
			defined[e.Name] = true
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				exists("Secret", e.ValueFrom.SecretKeyRef.Name)
				o.expectKey(w, e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Key)
			}
		}
		for _, arg := range c.Args {
			o.expectDefined(w, arg, defined)
		}
		if slices.ContainsFunc(pod.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name }) {
			continue
		}
		for kind, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if p == nil {
				if w.selector != nil {
					o.t.Errorf("%s has no %s probe", w.name, kind)
				}
				continue
			}
			if p.HTTPGet != nil && !hasPort(c, p.HTTPGet.Port) || p.TCPSocket != nil && !hasPort(c, p.TCPSocket.Port) {
				o.t.Errorf("%s: the %s probe is for a port that there is not", w.name, kind)
			}
		}
	}
	if len(volumes) > 0 {
		o.t.Errorf("%s mounts %v nowhere", w.name, volumes)
	}
}

var reference = regexp.MustCompile(`\$\((\w+)\)`)

// expectDefined checks that the variables in a text are defined, for a variable's value by earlier ones.
func (o *objects) expectDefined(w workload, text string, defined map[string]bool) {
	o.t.Helper()
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if !defined[m[1]] {
			o.t.Errorf("%s: %q refers to %s, which is not defined there", w.name, text, m[1])
		}
	}
}

// expectVolume checks a volume's source, and that only the hub's group can read it.
func (o *objects) expectVolume(w workload, v corev1.Volume, exists func(kind, name string)) {
	o.t.Helper()
	mode := (*int32)(nil)
	switch {
	case v.ConfigMap != nil:
		exists("ConfigMap", v.ConfigMap.Name)
		mode = v.ConfigMap.DefaultMode
	case v.Secret != nil:
		exists("Secret", v.Secret.SecretName)
		mode = v.Secret.DefaultMode
		if v.Secret.Optional != nil {
			o.t.Errorf("%s does not wait for %s", w.name, v.Secret.SecretName)
		}
		for _, item := range v.Secret.Items {
			o.expectKey(w, v.Secret.SecretName, item.Key)
		}
	case v.Projected != nil:
		mode = v.Projected.DefaultMode
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				exists("ConfigMap", s.ConfigMap.Name)
			}
			if s.Secret != nil {
				exists("Secret", s.Secret.Name)
			}
		}
	case v.EmptyDir != nil:
		return
	default:
		o.t.Errorf("%s: volume %s is of none of the kinds that are used", w.name, v.Name)
	}
	if mode == nil || *mode != 0o440 {
		o.t.Errorf("%s: volume %s has mode %v, want 0440", w.name, v.Name, mode)
	}
}

// expectKey checks that a Secret, if it is among the objects, has a key.
func (o *objects) expectKey(w workload, secret, key string) {
	o.t.Helper()
	for _, s := range of[*corev1.Secret](o) {
		if s.Name == secret && len(s.Data[key]) == 0 && s.StringData[key] == "" {
			o.t.Errorf("%s needs the key %s of Secret %s, which it has not", w.name, key, secret)
		}
	}
	if keys, ok := o.madeByJobs()[secret]; ok && !slices.Contains(keys, key) {
		o.t.Errorf("%s needs the key %s of Secret %s, which the Job does not make", w.name, key, secret)
	}
}

func hasPort(c corev1.Container, port intstr.IntOrString) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
		return port.Type == intstr.String && p.Name == port.StrVal || port.Type == intstr.Int && p.ContainerPort == port.IntVal
	})
}

// expectRestricted checks that a pod meets the Pod Security Standard "restricted", and more.
func (o *objects) expectRestricted(w workload) {
	o.t.Helper()
	pod := w.template.Spec
	s := pod.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser != nil && *s.RunAsUser == 0 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		o.t.Errorf("%s: the pod's security context is %+v", w.name, s)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		o.t.Errorf("%s shares namespaces of the node", w.name)
	}
	if automount := pod.AutomountServiceAccountToken; automount == nil || *automount != o.needsAccount(pod.ServiceAccountName) {
		o.t.Errorf("%s: whether its pods get a token is %v", w.name, automount)
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Privileged != nil ||
			s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.RunAsUser != nil ||
			s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			o.t.Errorf("%s: the security context of %s is %+v", w.name, c.Name, s)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			o.t.Errorf("%s: %s has the resources %+v", w.name, c.Name, c.Resources)
		}
	}
}

// needsAccount reports whether an account has rights, so that its pods need its token.
func (o *objects) needsAccount(name string) bool {
	return slices.ContainsFunc(of[*rbacv1.RoleBinding](o), func(b *rbacv1.RoleBinding) bool {
		return slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool { return s.Kind == "ServiceAccount" && s.Name == name })
	})
}

// flagsOf returns the flags among arguments, without their values.
func flagsOf(args []string) []string {
	var flags []string
	for _, a := range args {
		if name, _, _ := strings.Cut(a, "="); strings.HasPrefix(name, "--") {
			flags = append(flags, name)
		}
	}
	return flags
}
