"""Run the Docker images of a team as a pipeline on Vertex AI, from one declaration."""
