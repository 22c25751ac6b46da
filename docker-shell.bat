@echo off
rem Builds the image of run-kfp and opens a shell in it: the current folder is /work there, the secrets are at /secrets,
rem read-only. What is given after the script's name runs instead of the shell:
rem
rem   docker-shell.bat run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22
rem
rem Read from the environment:
rem   SECRETS_DIR           the secrets folder; else secrets\ or ..\secrets\ of the current folder
rem   RUN_KFP_BASE          another base image: a Debian with gcloud and Python 3.11 or later
rem   RUN_KFP_IMAGE         the name that the image gets; else run-kfp
rem   RUN_KFP_DOCKER_ARGS   more arguments for docker run, split at spaces: --network host
rem and the settings named at :settings. docker-shell.sh does the same elsewhere: change both.
rem A Docker on Windows gives the files of the work folder to the caller by itself, so no --user is given here.
setlocal EnableExtensions DisableDelayedExpansion

set "here=%~dp0"
set "here=%here:~0,-1%"
set "work=%CD%"
set "image=%RUN_KFP_IMAGE%"
if not defined image set "image=run-kfp"

rem cmd's 9009: there is no such program
docker info --format "{{.SecurityOptions}}" >nul 2>nul
if errorlevel 9009 (
    call :say "docker not found: install it (https://docs.docker.com/get-docker/)"
    exit /b 2
)
if errorlevel 1 (
    call :say "the Docker daemon does not answer: start Docker Desktop (see docker info)"
    exit /b 2
)

set "secrets="
if defined SECRETS_DIR (
    if not exist "%SECRETS_DIR%\" (
        call :say "SECRETS_DIR is not a folder: %SECRETS_DIR%"
        exit /b 2
    )
    call :full secrets "%SECRETS_DIR%"
) else if exist "secrets\" (
    call :full secrets "secrets"
) else if exist "..\secrets\" (
    call :full secrets "..\secrets"
) else (
    call :say "no secrets folder, continuing without: copy %here%\secrets.example to secrets and fill it in"
)

set "base="
if defined RUN_KFP_BASE set base=--build-arg "BASE=%RUN_KFP_BASE%"
docker build %base% --tag "%image%" "%here%" 1>&2
if errorlevel 1 (
    call :say "the image was not built: see the output of the builder above"
    exit /b 2
)

set "options="
set "stopped="
call :terminal
call :mount "%work%" /work

:settings
for %%n in (
    GCP_PROJECT GCP_REGION GCS_BUCKET_NAME GCS_SERVICE_ACCOUNT NUM_GPU WHYLABS_DEFAULT_ORG_ID
    WHYLABS_DEFAULT_DATASET_ID RUN_KFP_REGISTRY GOOGLE_APPLICATION_CREDENTIALS NO_COLOR
) do if defined %%n call :add --env %%n

rem Paths of this machine become those in the container.
if defined RUN_KFP_REGISTRY call :registry
if defined GOOGLE_APPLICATION_CREDENTIALS call :key
if defined secrets call :secrets
if defined stopped exit /b 2

docker run --rm --init%options% %RUN_KFP_DOCKER_ARGS% "%image%" %*
exit /b %errorlevel%


rem say "words": to standard error, after the script's name
:say
set "words=%~1"
setlocal EnableDelayedExpansion
echo docker-shell: !words! 1>&2
endlocal
exit /b 0

rem full NAME "path": the variable becomes the absolute path, without a backslash at the end
:full
set "%~1=%~f2"
call set "last=%%%~1:~-1%%"
if "%last%"=="\" call set "%~1=%%%~1:~0,-1%%"
exit /b 0

rem add WORD...: to the options of docker run
:add
set options=%options% %*
exit /b 0

rem mount "source" TARGET: shows a file or folder of this machine, read-only unless it is the work folder
:mount
set "source=%~1"
if not "%source:,=%"=="%source%" (
    call :say "docker cannot mount a path that contains a comma: %~1"
    set "stopped=1"
    exit /b 0
)
if "%~2"=="/work" (
    set options=%options% --mount "type=bind,source=%~1,target=%~2"
) else (
    set options=%options% --mount "type=bind,source=%~1,target=%~2,readonly"
)
exit /b 0

rem inside "path": sets `inner` to the path below the work folder, with slashes; to nothing if it is not below it
:inside
set "inner="
set "whole=%~1\"
call set "rest=%%whole:%work%\=%%"
if not "%work%\%rest%"=="%whole%" exit /b 0
set "inner=%rest:~0,-1%"
set "inner=%inner:\=/%"
exit /b 0

:secrets
set "login=%secrets%\git.env"
call :full beside "%secrets%\..\git.env"
if exist "%login%" set "beside="
if defined beside if not exist "%beside%" set "beside="
if defined beside (
    call :single_files
) else (
    call :mount "%secrets%" /secrets
)
call :add --env RUN_KFP_SECRETS=/secrets

rem Where they lie in the work folder as well, they are not writable there either.
call :cover "%secrets%"
if defined beside call :cover "%beside%"

call :missing WANDB_API_KEY "%secrets%\wandb.txt"
call :missing WHYLABS_API_KEY "%secrets%\whylabs.txt"
call :missing GIT_LOGIN "%login%"
exit /b 0

rem Nothing can be mounted into a folder that is read-only, so /secrets is put together from single files.
:single_files
set "login=%beside%"
call :add --tmpfs /secrets:ro
call :mount "%beside%" /secrets/git.env
for /f "delims=" %%f in ('dir /b /a-d "%secrets%"') do call :mount "%secrets%\%%f" "/secrets/%%f"
exit /b 0

:cover
call :inside "%~1"
if defined inner call :mount "%~1" "/work/%inner%"
exit /b 0

rem missing VARIABLE "file": a secret that only the environment has
:missing
if defined %~1 if not exist "%~2" (
    call :say "%~1 is set, but secrets are not passed by environment: write it to %~2 (see secrets.example)"
)
exit /b 0

:key
set "key=%GOOGLE_APPLICATION_CREDENTIALS%"
set "GOOGLE_APPLICATION_CREDENTIALS=/credentials/key.json"
if not exist "%key%" (
    call :say "GOOGLE_APPLICATION_CREDENTIALS is not a file: %key%"
    exit /b 0
)
call :full key "%key%"
call :mount "%key%" /credentials/key.json
exit /b 0

:registry
call :full registry "%RUN_KFP_REGISTRY%"
call :inside "%registry%"
if not defined inner (
    call :say "RUN_KFP_REGISTRY must be in the current folder: %RUN_KFP_REGISTRY%"
    set "stopped=1"
)
set "RUN_KFP_REGISTRY=/work/%inner%"
exit /b 0

rem --interactive --tty only where input and output are a terminal: with them a redirected output gets line ends of a
rem terminal, and a redirected input stops docker. Batch itself cannot tell.
:terminal
powershell -NoProfile -Command "exit [int]([Console]::IsInputRedirected -or [Console]::IsOutputRedirected)"
if not errorlevel 1 call :add --interactive --tty
exit /b 0
