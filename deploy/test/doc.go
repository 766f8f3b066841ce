// Package deploy tests the folder above it: the image, the compose file, the Helm chart and the Kustomize overlays,
// without cluster and registry. It renders manifests with the libraries of Helm and Kustomize, decodes them strictly
// with the types of their APIs, and checks that they agree with each other. It builds the image's file system and
// starts its binary in it as a container engine does.
package deploy
